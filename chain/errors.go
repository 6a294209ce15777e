package chain

import (
	"errors"
	"fmt"
	"time"
)

// Permanent defects. All of them wrap ErrInvalid: whoever sent such bytes could
// have known, so a peer that did is rejected and loses score.
var (
	ErrInvalid        = errors.New("chain: invalid")
	ErrInvalidGenesis = fmt.Errorf("%w genesis", ErrInvalid)
	ErrInvalidTx      = fmt.Errorf("%w transaction", ErrInvalid)
	ErrInvalidBlock   = fmt.Errorf("%w block", ErrInvalid)
	// ErrBodyMismatch means that the transactions do not hash to the header's
	// TxHash. It is the fault of whoever sent the body; the header stays good.
	ErrBodyMismatch = fmt.Errorf("%w block body", ErrInvalid)
	// ErrInvalidProof means that a bucket or a digest does not belong to the root.
	ErrInvalidProof = fmt.Errorf("%w state proof", ErrInvalid)
)

// Kinds of transaction that pheme refuses by name. They wrap ErrInvalidTx.
var (
	ErrBlobTx           = fmt.Errorf("%w: blob transactions (type 3) are not supported", ErrInvalidTx)
	ErrSetCodeTx        = fmt.Errorf("%w: set-code transactions (type 4) are not supported", ErrInvalidTx)
	ErrContractCreation = fmt.Errorf("%w: contract creation is not supported: pheme has no EVM, set a recipient", ErrInvalidTx)
	ErrUnprotectedTx    = fmt.Errorf("%w: legacy transaction without a chain id (EIP-155) is not supported", ErrInvalidTx)
	ErrChainID          = fmt.Errorf("%w: made for another chain id", ErrInvalidTx)
	ErrIntrinsicGas     = fmt.Errorf("%w: intrinsic gas too low", ErrInvalidTx)
	ErrGasLimit         = fmt.Errorf("%w: exceeds block gas limit", ErrInvalidTx)
	ErrOversizedTx      = fmt.Errorf("%w: oversized data", ErrInvalidTx)
	ErrSignature        = fmt.Errorf("%w: invalid sender", ErrInvalidTx)
	ErrTipAboveFeeCap   = fmt.Errorf("%w: max priority fee per gas higher than max fee per gas", ErrInvalidTx)
	ErrFeeCapTooLow     = fmt.Errorf("%w: max fee per gas less than block base fee", ErrInvalidTx)
)

// What is no fault of the sender of the bytes. None of these wraps ErrInvalid.
var (
	// ErrUnknownParent means that the parent is neither imported nor checked:
	// hold the block and fetch the parent.
	ErrUnknownParent = errors.New("chain: unknown parent")
	// ErrKnown means that a block with this id is already imported or checked.
	ErrKnown = errors.New("chain: already known")
	// ErrTooOld means that the block forks below the undo window.
	ErrTooOld = errors.New("chain: older than the undo window")
	// ErrSecondBlock means that the proposer signed another block for the same
	// slot before. The block passed Check and must be given to Add like any
	// other, since a branch may grow on it, but it is not relayed.
	ErrSecondBlock = errors.New("chain: second block of this slot")
	// ErrEquivocation means that two blocks of this slot are kept already: drop it.
	// If another proposer builds on it, Check of the child says ErrUnknownParent,
	// and from then on this block passes with ErrSecondBlock.
	ErrEquivocation = errors.New("chain: third block of this slot")
	// ErrBadBlock means that the body matches the header and breaks the full
	// rules: overdrawn, a wrong nonce, gas, receipts or state root, or a bad
	// transaction. The header is invalid for ever and on the invalid list. The
	// proposer is to blame, never a forwarder.
	ErrBadBlock = errors.New("chain: bad block")
	// ErrInvalidAncestor means that the block or an ancestor is on the invalid list.
	ErrInvalidAncestor = errors.New("chain: block or ancestor is on the invalid list")
)

// Refusals to sign, and trouble of our own.
var (
	ErrNotProposer  = errors.New("chain: slot belongs to another proposer")
	ErrSlotUsed     = errors.New("chain: slot not above the last signed one")
	ErrInUse        = errors.New("chain: data dir is in use")
	ErrWrongNetwork = errors.New("chain: data dir belongs to another network")
	ErrNewerFormat  = errors.New("chain: data dir has a newer format")
	ErrOlderFormat  = errors.New("chain: data dir has an older format")
	ErrCorrupt      = errors.New("chain: damaged store")
	ErrStorage      = errors.New("chain: storage refuses writes")
	ErrNotFound     = errors.New("chain: not found")
	ErrPruned       = errors.New("chain: pruned")
	ErrClosed       = errors.New("chain: closed")
)

// ErrEarly says that a block's slot has not begun by our clock. Match it with
// errors.As. It is never the sender's fault: clocks differ.
type ErrEarly struct {
	When time.Time // when the slot begins
	Hold bool      // near enough to be held until When; otherwise drop it
}

// Error implements error.
func (e ErrEarly) Error() string {
	return "chain: block is early: its slot begins at " + e.When.UTC().Format(time.RFC3339Nano)
}
