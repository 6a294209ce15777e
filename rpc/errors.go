package rpc

import (
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// Codes of JSON-RPC 2.0 and those geth adds.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeServer         = -32000
	codeTimeout        = -32002
	codeTooLarge       = -32003
	codeBusy           = -32005 // EIP-1474
	codePruned         = 4444   // EIP-4444
	codeSyncTimeout    = 4      // EIP-7966
)

var (
	errStopping = errors.New("the node is stopping: send the call to another node")
	errNoFilter = errors.New("filter not found")
	errCrashed  = &codeError{codeInternal, "method handler crashed"}

	errTimeout = &codeError{codeTimeout, "request timed out"}

	errNoSubscription = errors.New("subscription not found")
)

// codeError is an error with its own JSON-RPC code; errors without one answer -32000.
type codeError struct {
	code int
	text string
}

func (e *codeError) Error() string  { return e.text }
func (e *codeError) ErrorCode() int { return e.code }

func invalidParams(format string, args ...any) error {
	return &codeError{codeInvalidParams, fmt.Sprintf(format, args...)}
}

// notServed is the answer of a method whose part of the node is absent.
func notServed(what string) error {
	return &codeError{codeNoMethod, what + " is not served by this node"}
}

// syncTimeoutError says that a transaction was accepted but is in no block yet; its
// data is the hash (EIP-7966).
type syncTimeoutError struct {
	text string
	hash common.Hash
}

func (e *syncTimeoutError) Error() string  { return e.text }
func (e *syncTimeoutError) ErrorCode() int { return codeSyncTimeout }
func (e *syncTimeoutError) ErrorData() any { return e.hash }
