package main

import (
	"reflect"
	"strings"
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
		m.overlay(&spec, set.Changed)
		m.rest(&spec)
		if reflect.DeepEqual(spec, experiment.Default()) {
			t.Errorf("--%s %s changes nothing of an experiment", f.Name, value)
		}
	})
}

// TestMeasureFlagsAboveZero: a number of measure that was typed is above 0, or the flag is named; a share of loss may be 0.
func TestMeasureFlagsAboveZero(t *testing.T) {
	numbers := 0
	measureCommand().Flags().VisitAll(func(f *pflag.Flag) {
		typed := []string{"0", "-3"}
		switch f.Value.Type() {
		case "size":
			typed = typed[:1] // it reads none below 0
		case "duration":
			typed = []string{"0s", "-3s"}
		case "int", "float64":
		default:
			return
		}
		if f.Name == "loss" {
			return
		}
		numbers++
		for _, value := range typed {
			var m measureFlags
			set := pflag.NewFlagSet("measure", pflag.ContinueOnError)
			m.flags(set)
			if err := m.checkTyped(set); err != nil {
				t.Errorf("nothing typed: %v", err)
			}
			if err := set.Set(f.Name, value); err != nil {
				t.Fatal(err)
			}
			if err := m.checkTyped(set); err == nil || !strings.Contains(err.Error(), "--"+f.Name+" ") {
				t.Errorf("--%s %s: %v, want it refused by name", f.Name, value, err)
			}
		}
	})
	if numbers < 9 {
		t.Errorf("%d numbers looked at, want all", numbers)
	}
}

// TestMeasureFlagsTakeBack: a flag wins, too, where it says nothing of what a file says, or the file says it otherwise.
func TestMeasureFlagsTakeBack(t *testing.T) {
	spec, err := experiment.Decode("run.toml", []byte("engine = \"virtual\"\n[net]\nloss = 0.01\nup = \"50mbit\"\ndown = \"50mbit\"\n[cpu]\nmode = \"charge\"\nhash_us = 9.0\ncores = 4\n[report]\nstrict = true\n"))
	if err != nil {
		t.Fatal(err)
	}
	var m measureFlags
	set := pflag.NewFlagSet("measure", pflag.ContinueOnError)
	m.flags(set)
	if err := set.Parse([]string{"--loss", "0", "--rate", "10mbit", "--cpu", "off", "--strict=false"}); err != nil {
		t.Fatal(err)
	}
	m.overlay(&spec, set.Changed)
	if n := spec.Net; n.Loss != 0 || n.Rate != "10mbit" || n.Up != "" || n.Down != "" || spec.CPU.Mode != "off" || spec.CPU.HashUS != 0 || spec.Report.Strict {
		t.Errorf("%+v, %+v, %+v", n, spec.CPU, spec.Report)
	}
	spec.Resolve()
	if err := spec.Validate(); err != nil {
		t.Error(err)
	}
}
