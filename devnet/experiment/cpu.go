package experiment

import (
	"slices"
)

// What computing costs in virtual time.
const (
	CPUCharge  = "charge"  // every node's work queues on its cores, at the prices that stand here
	CPUOff     = "off"     // nothing: latencies are the network's alone
	CPUMeasure = "measure" // like charge, at prices measured on this machine before the run, which then stand here
)

// CPU is what a node's computing costs. Real processes pay for themselves.
type CPU struct {
	Mode        string  `toml:"mode" json:"mode" comment:"charge: work queues on each node's cores at these prices; off: it is free; measure: charge at prices measured here first"`
	Cores       int     `toml:"cores,omitempty" json:"cores,omitempty" comment:"of a node"`
	SignatureUS float64 `toml:"signature_us,omitempty" json:"signature_us,omitempty" comment:"microseconds to check the signature of a transaction or a block"`
	HashUS      float64 `toml:"hash_us,omitempty" json:"hash_us,omitempty" comment:"microseconds to hash a KiB of a block or batch: its message id, its transactions and their root"`
	TransferUS  float64 `toml:"transfer_us,omitempty" json:"transfer_us,omitempty" comment:"microseconds to import a transfer whose sender is known"`
}

// The default prices are what mode = "measure" found on an AMD EPYC at about 3 GHz with secp256k1 in C, rounded up.
func (c *CPU) resolve(virtual bool) {
	if !virtual {
		return
	}
	fill(&c.Mode, CPUCharge)
	if c.Mode == CPUOff {
		return
	}
	fill(&c.Cores, 2) // a small server; EIP-7870's node has four
	if c.Mode == CPUCharge {
		fill(&c.SignatureUS, 36)
		fill(&c.HashUS, 7)
		fill(&c.TransferUS, 10)
	}
}

func (s *Spec) checkCPU() []check {
	c := &s.CPU
	price := func(us float64) bool { return us > 0 && us <= 1e6 }
	charged := s.Virtual() && c.Mode == CPUCharge
	return []check{
		{!s.Virtual() && *c != (CPU{}), "cpu", "real processes pay for their own work: leave [cpu] out, or set engine = \"virtual\""},
		{s.Virtual() && !slices.Contains([]string{CPUCharge, CPUOff, CPUMeasure}, c.Mode), "cpu.mode", "must be charge, off or measure"},
		{c.Mode == CPUOff && *c != (CPU{Mode: CPUOff}), "cpu", "has prices or cores that mode = \"off\" does not use: leave them out"},
		{c.Mode == CPUMeasure && (c.SignatureUS != 0 || c.HashUS != 0 || c.TransferUS != 0), "cpu", "has prices that mode = \"measure\" would replace: leave them out, or set mode = \"charge\""},
		{s.Virtual() && c.Mode != CPUOff && (c.Cores < 1 || c.Cores > 1024), "cpu.cores", "must be 1 to 1024"},
		{charged && !price(c.SignatureUS), "cpu.signature_us", "must be above 0 and at most 1000000"},
		{charged && !price(c.HashUS), "cpu.hash_us", "must be above 0 and at most 1000000"},
		{charged && !price(c.TransferUS), "cpu.transfer_us", "must be above 0 and at most 1000000"},
	}
}
