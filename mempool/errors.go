package mempool

import "errors"

// Refusals. Their texts are those of go-ethereum, because wallets and libraries
// match on them; a refusal wraps one of these and may add the numbers behind it.
// None of them is the fault of the peer that passed the transaction on.
var (
	ErrKnown              = errors.New("already known")
	ErrNonceTooLow        = errors.New("nonce too low")
	ErrNonceTooHigh       = errors.New("nonce too high")
	ErrInsufficientFunds  = errors.New("insufficient funds for gas * price + value")
	ErrReplaceUnderpriced = errors.New("replacement transaction underpriced")
	ErrUnderpriced        = errors.New("transaction underpriced")
	ErrFull               = errors.New("txpool is full")
	ErrSenderLimit        = errors.New("account limit exceeded")
)

// Refusals that other nodes do not have a text for.
var (
	// ErrJournal means that the transaction could not be recorded, so it was not
	// accepted; it wraps the reason, such as a full disk. It is worth a retry.
	ErrJournal = errors.New("mempool: journal refuses writes")
	// ErrClosed means that the pool is closed.
	ErrClosed = errors.New("mempool: closed")
	// ErrNewerJournal means that a newer pheme wrote the journal.
	ErrNewerJournal = errors.New("mempool: journal has a newer format")
)
