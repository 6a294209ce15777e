package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	gethrpc "github.com/ethereum/go-ethereum/rpc"
)

// dispatcher runs calls and writes their answers, by the rules of JSON-RPC 2.0; where those are silent it
// does and says what go-ethereum's server does, which a test holds beside it. Subscriptions are
// the streams' own.
type dispatcher struct {
	s       *Server
	methods map[string]*method

	unsubscribe *method // of every namespace, outside of a stream
}

// newDispatcher makes the table of methods and the document that describes it.
func (s *Server) newDispatcher(admin bool) (*dispatcher, error) {
	services := s.services(admin)
	d := &dispatcher{s: s, methods: methodsOf(services)}
	d.unsubscribe = methodsOf(map[string]any{"": noSubscriptions{}})["_end"]
	own := services["rpc"].(*rpcAPI)
	for namespace := range services {
		own.namespaces = append(own.namespaces, namespace)
	}
	var err error
	if own.document, err = describe(s.cfg.ClientVersion, d.methods); err != nil {
		return nil, err
	}
	eth := &ethAPI{s}
	d.methods[sendMethod].direct = func(ctx context.Context, args []reflect.Value) (any, error) {
		return eth.SendRawTransaction(ctx, args[0].Bytes())
	}
	d.methods[discoverName] = d.methods["rpc_discover"]
	return d, nil
}

// noSubscriptions answers those who want to end a subscription that their connection cannot have.
type noSubscriptions struct{}

// End refuses.
func (noSubscriptions) End(gethrpc.ID) (bool, error) { return false, errNoSubscription }

// maxMethodName is the length of a method's name that is still worth repeating in an error.
const maxMethodName = 2048

// answer is what is written for a call, in pieces so that a large result is not copied; no pieces for
// what takes no answer.
type answer [3][]byte

// serve runs a body, a call or a batch.
func (d *dispatcher) serve(ctx context.Context, f *flight, body []byte) answer {
	if len(bytes.TrimSpace(body)) == 0 {
		return answer{}
	}
	calls, many, err := parse(body, d.s.cfg.MaxBatch)
	d.s.calls.Add(1) // the calls of a batch that is run are counted there
	if f.hasty = !d.s.rates.take(f.received, f.from, max(1, many)); f.hasty {
		return answer{appendFault(nil, firstID(calls), d.s.tooHasty())}
	}
	switch {
	case err != nil:
		return answer{appendFault(nil, nil, err)}
	case many >= 0:
		return answer{d.batch(ctx, f, calls)}
	}
	call := &calls[0]
	if call.isAnswer() {
		return answer{}
	}
	result, fault := d.run(ctx, call)
	switch {
	case call.isNotification():
		return answer{}
	case fault != nil:
		return answer{appendFault(nil, call.id, fault)}
	}
	return answer{appendHead(make([]byte, 0, len(call.id)+40), call.id), result, closing}
}

// batch runs the calls of a batch one after another. It ends early, with an error for each call that is
// left, when the answers are too large together, there is no memory for more of them, or the time is over in
// which they can be written. The answer that passes a limit is still given: its call has been run.
func (d *dispatcher) batch(ctx context.Context, f *flight, calls []request) []byte {
	f.batch = true
	if len(calls) == 0 {
		return appendFault(nil, nil, &codeError{codeInvalidRequest, "empty batch"})
	}
	if len(calls) > d.s.cfg.MaxBatch {
		return append(appendFault([]byte{'['}, firstID(calls), &codeError{codeInvalidRequest, "batch too large"}), ']')
	}
	d.s.calls.Add(uint64(len(calls) - 1))
	ctx, cancel := context.WithTimeout(ctx, d.s.cfg.WriteTimeout-timeToWrite)
	defer cancel()
	together := d.sendTogether(ctx, calls)
	out, size, before := []byte{'['}, 0, f.paid()
	var over error // why the rest is not run
	for i := range calls {
		call := &calls[i]
		if call.isAnswer() || over != nil && call.isNotification() {
			continue
		}
		var result []byte
		fault := over
		switch {
		case over != nil:
		case together != nil:
			result, fault = together[i].result, together[i].err
		default:
			result, fault = d.run(ctx, call)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && over == nil {
			over = errTimeout
			result, fault = nil, over
		}
		if call.isNotification() {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		start := len(out)
		if fault != nil {
			out = appendFault(out, call.id, fault)
		} else {
			out = append(append(appendHead(out, call.id), result...), closing...)
		}
		size += len(out) - start
		switch {
		case over != nil:
		case size > d.s.cfg.MaxResponse:
			over = &codeError{codeTooLarge, "response too large"}
		case !f.cover(len(out)+len(out)/4, before): // append keeps up to a quarter in reserve
			over = errBusy
		}
	}
	if len(out) == 1 {
		return nil // nobody asked for an answer
	}
	return append(out, ']')
}

// timeToWrite is left of WriteTimeout for the answers of what took all its time.
const timeToWrite = 100 * time.Millisecond

func firstID(calls []request) json.RawMessage {
	for i := range calls {
		if calls[i].isCall() {
			return calls[i].id
		}
	}
	return nil
}

// run runs one call and returns its result as JSON.
func (d *dispatcher) run(ctx context.Context, call *request) (result []byte, err error) {
	if !call.isCall() && !call.isNotification() {
		return nil, &codeError{codeInvalidRequest, "invalid request"}
	}
	m, err := d.lookup(call.method)
	if err != nil {
		return nil, err
	}
	args, err := m.arguments(call.params)
	if err != nil {
		return nil, &codeError{codeInvalidParams, err.Error()}
	}
	return d.invoke(ctx, m, args)
}

// lookup finds a method by its name.
func (d *dispatcher) lookup(name string) (*method, error) {
	if len(name) > maxMethodName {
		return nil, &codeError{codeInvalidRequest, fmt.Sprintf("method name too long: %d > %d", len(name), maxMethodName)}
	}
	if m := d.methods[name]; m != nil {
		return m, nil
	}
	switch {
	case strings.HasSuffix(name, "_subscribe"):
		return nil, &codeError{codeNoMethod, "notifications not supported"}
	case strings.HasSuffix(name, "_unsubscribe"):
		return d.unsubscribe, nil
	}
	return nil, &codeError{codeNoMethod, fmt.Sprintf("the method %s does not exist/is not available", name)}
}

// invoke calls a method and sees to it that its result is leased. One that crashes is counted and answers an error; no
// other call notices.
func (d *dispatcher) invoke(ctx context.Context, m *method, args []reflect.Value) (result []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.crashed(p)
			result, err = nil, errCrashed
		}
	}()
	f := flightFrom(ctx)
	before := f.paid()
	value, err := m.call(ctx, args)
	if err != nil {
		return nil, err
	}
	if result, err = marshal(value); err == nil && !f.cover(len(result), before) {
		return nil, errBusy
	}
	return result, err
}

// crashed counts and logs what a method panicked with. It runs on the stack of the panic.
func (d *dispatcher) crashed(p any) {
	d.s.panics.Add(1)
	logger.Errorw("a call crashed", "panic", p, "stack", string(debug.Stack()))
}

// marshal writes a result.
func marshal(value any) (raw []byte, err error) {
	switch v := value.(type) {
	case json.RawMessage:
		if v == nil {
			return nullID, nil
		}
		return v, nil
	case common.Hash:
		return appendHash(nil, v), nil
	case json.Marshaler:
		raw, err = v.MarshalJSON()
	default:
		raw, err = json.Marshal(v)
	}
	if err != nil {
		return nil, &codeError{codeInternal, err.Error()}
	}
	return raw, nil
}

var closing = []byte{'}'}

// appendHead writes an answer up to its result. An id that no answer can carry becomes null.
func appendHead(b []byte, id json.RawMessage) []byte {
	return append(appendID(b, id), `,"result":`...)
}

func appendID(b []byte, id json.RawMessage) []byte {
	if len(id) == 0 || id[0] == '{' || id[0] == '[' {
		id = nullID
	}
	return append(append(b, `{"jsonrpc":"2.0","id":`...), id...)
}

// appendFault writes the answer to a call that failed.
func appendFault(b []byte, id json.RawMessage, err error) []byte {
	fault := struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}{Code: codeServer, Message: err.Error()}
	if coded := gethrpc.Error(nil); errors.As(err, &coded) {
		fault.Code = coded.ErrorCode()
	}
	if with := gethrpc.DataError(nil); errors.As(err, &with) {
		fault.Data = with.ErrorData()
	}
	raw, err := json.Marshal(fault)
	if err != nil {
		raw = []byte(`{"code":-32603,"message":"the error cannot be written"}`)
	}
	return append(append(append(appendID(b, id), `,"error":`...), raw...), '}')
}
