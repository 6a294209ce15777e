package relay

import "github.com/ethereum/go-ethereum/common"

// perSlot is how many blocks of one slot are followed; package chain keeps as many.
const perSlot = 2

// slotCount remembers the blocks announced for recent slots, so that a proposer
// that signs many of one slot cannot have them all relayed.
type slotCount struct {
	by    map[uint64][]common.Hash
	slots []uint64
}

func newSlotCount() slotCount { return slotCount{by: make(map[uint64][]common.Hash)} }

// maxSlots bounds the slots remembered.
const maxSlots = 256

// add returns the place of a block among those of its slot, from 1; above perSlot
// it is not remembered.
func (s *slotCount) add(slot uint64, id common.Hash) int {
	ids, have := s.by[slot]
	for i, o := range ids {
		if o == id {
			return i + 1
		}
	}
	if len(ids) >= perSlot {
		return perSlot + 1
	}
	if !have {
		s.slots = append(s.slots, slot)
		if len(s.slots) > maxSlots {
			delete(s.by, s.slots[0])
			s.slots = s.slots[1:]
		}
	}
	s.by[slot] = append(ids, id)
	return len(ids) + 1
}
