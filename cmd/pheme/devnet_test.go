package main

import (
	"reflect"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// TestMeasureFlagsWin: every flag of measure that is a setting changes an experiment that was read.
func TestMeasureFlagsWin(t *testing.T) {
	settings := map[string]string{
		"engine": "virtual", "nodes": "7", "relay": "coded", "d": "5", "transport": "quic", "latency": "lan", "rate": "7mbit", "loss": "0.25",
		"blocks": "7", "warmup": "7", "block-size": "7KiB", "tx-size": "7KiB", "pools": "cold", "cpu": "off", "txs": "7", "slot": "7s", "seeds": "7",
		"strict": "true",
	}
	others := map[string]bool{"out": true, "baseline": true, "json": true} // where results go
	measureCommand().Flags().VisitAll(func(f *pflag.Flag) {
		value, ok := settings[f.Name]
		if !ok {
			if !others[f.Name] {
				t.Errorf("--%s: give this test a value for it, or say that it is no setting", f.Name)
			}
			return
		}
		var m measureFlags
		set := pflag.NewFlagSet("measure", pflag.ContinueOnError)
		m.flags(set)
		if err := set.Set(f.Name, value); err != nil {
			t.Fatal(err)
		}
		spec := experiment.Default()
		m.overlay(&spec)
		m.rest(&spec)
		if reflect.DeepEqual(spec, experiment.Default()) {
			t.Errorf("--%s %s changes nothing of an experiment", f.Name, value)
		}
	})
}
