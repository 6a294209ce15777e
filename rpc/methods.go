package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode"
)

// method is one entry of the table that calls are looked up in and that the OpenRPC document is made
// from. A method is a Go method of a service; its parameters are positional, and those that are
// pointers may be left out.
type method struct {
	receiver reflect.Value
	fn       reflect.Value
	context  bool                                                         // it takes one before its parameters
	params   []reflect.Type                                               // of JSON
	result   reflect.Type                                                 // nil: none
	fails    bool                                                         // its last result is an error
	direct   func(ctx context.Context, args []reflect.Value) (any, error) // calls it without reflection; nil: nobody needs that
}

var (
	typeContext = reflect.TypeFor[context.Context]()
	typeError   = reflect.TypeFor[error]()
)

// methodsOf makes the table of the exported methods of services, by namespace: eth and GetBalance make
// eth_getBalance.
func methodsOf(services map[string]any) map[string]*method {
	all := make(map[string]*method)
	for namespace, service := range services {
		receiver := reflect.ValueOf(service)
		for i := range receiver.NumMethod() {
			m := receiver.Type().Method(i)
			name := []rune(m.Name)
			name[0] = unicode.ToLower(name[0])
			all[namespace+"_"+string(name)] = newMethod(receiver, m.Func)
		}
	}
	return all
}

func newMethod(receiver, fn reflect.Value) *method {
	m := &method{receiver: receiver, fn: fn}
	t := fn.Type()
	first := 1 // behind the receiver
	if m.context = t.NumIn() > first && t.In(first) == typeContext; m.context {
		first++
	}
	for i := first; i < t.NumIn(); i++ {
		m.params = append(m.params, t.In(i))
	}
	outs := t.NumOut()
	m.fails = outs > 0 && t.Out(outs-1) == typeError
	if outs > 1 || outs == 1 && !m.fails {
		m.result = t.Out(0)
	}
	return m
}

// arguments decodes the parameters of a call, which are valid JSON or none.
func (m *method) arguments(raw json.RawMessage) (args []reflect.Value, err error) {
	args = make([]reflect.Value, 0, len(m.params))
	switch {
	case len(raw) == 0 || isNull(raw):
	case !isArray(raw):
		return nil, errors.New("non-array args")
	default:
		eachElement(raw, func(element []byte) {
			if err != nil {
				return
			}
			var arg reflect.Value
			if arg, err = m.argument(len(args), element); err == nil {
				args = append(args, arg)
			}
		})
	}
	for i := len(args); i < len(m.params) && err == nil; i++ {
		if m.params[i].Kind() != reflect.Pointer {
			return nil, fmt.Errorf("missing value for required argument %d", i)
		}
		args = append(args, reflect.Zero(m.params[i]))
	}
	return args, err
}

func (m *method) argument(i int, raw []byte) (reflect.Value, error) {
	if i >= len(m.params) {
		return reflect.Value{}, fmt.Errorf("too many arguments, want at most %d", len(m.params))
	}
	arg, null := reflect.New(m.params[i]), isNull(raw)
	if null && m.params[i].Kind() != reflect.Pointer {
		return reflect.Value{}, fmt.Errorf("missing value for required argument %d", i)
	}
	var err error
	if u, ok := arg.Interface().(json.Unmarshaler); ok && !null {
		err = u.UnmarshalJSON(raw) // without a second look at its syntax
	} else {
		err = json.Unmarshal(raw, arg.Interface())
	}
	if err != nil {
		return reflect.Value{}, fmt.Errorf("invalid argument %d: %v", i, err)
	}
	return arg.Elem(), nil
}

// call runs the method and returns its result, nil if it has none.
func (m *method) call(ctx context.Context, args []reflect.Value) (any, error) {
	if m.direct != nil {
		return m.direct(ctx, args)
	}
	in := make([]reflect.Value, 0, 2+len(args))
	in = append(in, m.receiver)
	if m.context {
		in = append(in, reflect.ValueOf(ctx))
	}
	out := m.fn.Call(append(in, args...))
	if m.fails && !out[len(out)-1].IsNil() {
		err, _ := out[len(out)-1].Interface().(error)
		return nil, err
	}
	if m.result == nil {
		return nil, nil
	}
	return out[0].Interface(), nil
}
