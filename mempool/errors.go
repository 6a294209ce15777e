package mempool

import "errors"

// Refusals. Their texts are those of other Ethereum nodes, because libraries match on them; none of
// them is the fault of the peer that passed the transaction on.
var (
	ErrKnown              = errors.New("already known")
	ErrNonceTooLow        = errors.New("nonce too low")
	ErrNonceTooHigh       = errors.New("nonce too high")
	ErrInsufficientFunds  = errors.New("insufficient funds for gas * price + value")
	ErrReplaceUnderpriced = errors.New("replacement transaction underpriced")
	ErrUnderpriced        = errors.New("transaction underpriced")
	ErrFull               = errors.New("txpool is full")
	ErrSenderLimit        = errors.New("account limit exceeded")
	ErrBudget             = errors.New("peer sends transactions faster than its budget")
	ErrJournal            = errors.New("mempool: transaction not recorded, not accepted")
	ErrClosed             = errors.New("mempool: closed")
)
