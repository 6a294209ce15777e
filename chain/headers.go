package chain

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// CheckHeaders checks headers that follow one another and the first of which
// follows parent, a header the caller trusts: the rules of each, every signature
// on all cores, slots that have begun by now, none on the invalid list. They are
// not remembered. After it their number is their weight. Errors: those that wrap
// ErrInvalid blame the sender; ErrEarly and ErrInvalidAncestor do not.
func (c *Chain) CheckHeaders(parent *SignedHeader, list []*SignedHeader, now time.Time) error {
	for _, sh := range list {
		if sh.Parent() != parent.id {
			return fmt.Errorf("%w %s: its parent is %s, not %s", ErrInvalidBlock, sh.id, sh.Parent(), parent.id)
		}
		if err := checkParent(sh.header, parent.header, sh.id); err != nil {
			return err
		}
		if err := c.early(sh.Slot(), now, 0); err != nil {
			return err
		}
		parent = sh
	}
	if err := c.refuseInvalid(list); err != nil {
		return err
	}
	var g errgroup.Group
	each := max(1, (len(list)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	for ; len(list) > 0; list = list[min(each, len(list)):] {
		part := list[:min(each, len(list))]
		g.Go(func() error {
			for _, sh := range part {
				if err := sh.checkRules(c.g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// refuseInvalid refuses a list with a header of the invalid list in it.
func (c *Chain) refuseInvalid(list []*SignedHeader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sh := range list {
		if e := c.index.byID[sh.id]; e != nil && e.status == invalid {
			return fmt.Errorf("%w: %s: %s", ErrInvalidAncestor, sh.id, e.reason)
		}
	}
	return nil
}

// Better tells whether sh wins over o by the fork choice: more blocks from
// genesis, then the lower slot, then the lower id.
func (s *SignedHeader) Better(o *SignedHeader) bool { return better(s, o) }

// Vouch takes over that o's signature was checked, if o is the same signed header.
func (s *SignedHeader) Vouch(o *SignedHeader) {
	if a := o.signer.Load(); a != nil && s.id == o.id && s.sig == o.sig {
		s.signer.Store(a)
	}
}

// HeadHeader is the signed header of the head.
func (c *Chain) HeadHeader() *SignedHeader { return c.view.Load().head }

// Low is the number of the lowest block of the undo window: branches that begin
// below it are not imported.
func (c *Chain) Low() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.low
}
