package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pheme-net/pheme/node"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pheme": func() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands as a person would; go test -update rewrites what they print.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serving": serving,
			"exits":   exits,
		},
	})
}

// serving waits until the node of a data dir says that it serves: `serving DIR`, or with ! until it
// does so no more. $RPC is then its URL.
func serving(ts *testscript.TestScript, neg bool, args []string) {
	path := filepath.Join(ts.MkAbs(args[0]), node.ReadyFile)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		text, err := os.ReadFile(path)
		if err == nil && !neg {
			var r node.Ready
			ts.Check(json.Unmarshal(text, &r))
			ts.Setenv("RPC", r.RPC)
			return
		}
		if err != nil && neg {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s: still waiting after 30 s", path)
		}
	}
}

// exits runs a command that must end with a code: `exits CODE COMMAND ARGS...`.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got, failed := 0, new(exec.ExitError)
	switch {
	case errors.As(err, &failed):
		got = failed.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
