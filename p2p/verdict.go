package p2p

import (
	"errors"

	pubsub "github.com/libp2p/go-libp2p-pubsub"

	"github.com/pheme-net/pheme/chain"
)

// Verdict is what becomes of a gossip message.
type Verdict uint8

// The verdicts. Accept: valid so far, passed on. Ignore: cannot be judged or is
// not wanted; not passed on and nobody is punished. Reject: the sender could
// have known; not passed on and the sender loses score.
const (
	Accept Verdict = iota
	Ignore
	Reject
	numVerdicts
)

var verdictNames = [numVerdicts]string{"accept", "ignore", "reject"}

// String is the verdict's name.
func (v Verdict) String() string { return verdictNames[v] }

// result is the verdict as pubsub wants it.
func (v Verdict) result() pubsub.ValidationResult {
	return [numVerdicts]pubsub.ValidationResult{pubsub.ValidationAccept, pubsub.ValidationIgnore, pubsub.ValidationReject}[v]
}

// SetSilent makes a node that judges and takes what it is sent, but passes no
// message on, serves no block and no state, and takes no part in repair. It is for
// measuring what such peers do to others.
func (n *Net) SetSilent(on bool) { n.silent.Store(on) }

// passOn is a verdict as pubsub gets it: a silent node keeps to itself what it
// accepts.
func (n *Net) passOn(v Verdict) pubsub.ValidationResult {
	if v == Accept && n.silent.Load() {
		n.meter.withheld.Add(1)
		v = Ignore
	}
	return v.result()
}

// verdict is the one table from errors to verdicts, for blocks and batches:
//
//	nil                                                           Accept
//	wraps chain.ErrInvalid: not canonical, over a size limit,     Reject
//	  bad signature, wrong network, wrong proposer or slot rule,
//	  a body that is not the header's, a batch with a bad member
//	everything else: known, unknown parent, early, too old, a     Ignore
//	  second or third block of a slot, a descendant of an invalid
//	  block, what the pool did not want, trouble of our own
//
// An error that wraps both chain.ErrInvalid and one of those that blame nobody is
// Ignore: when in doubt no peer is punished.
func verdict(err error) Verdict {
	if err == nil {
		return Accept
	}
	for _, e := range []error{
		chain.ErrKnown, chain.ErrUnknownParent, chain.ErrTooOld, chain.ErrSecondBlock, chain.ErrEquivocation,
		chain.ErrInvalidAncestor, chain.ErrBadBlock, chain.ErrStorage, chain.ErrCorrupt, chain.ErrClosed, ErrBusy,
	} {
		if errors.Is(err, e) {
			return Ignore
		}
	}
	if early := (chain.ErrEarly{}); errors.As(err, &early) {
		return Ignore
	}
	if errors.Is(err, chain.ErrInvalid) {
		return Reject
	}
	return Ignore
}
