package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// wordy are the commands that print nothing a script would want as an object: one word, or a file of its own.
var wordy = []string{"pheme genesis", "pheme key new", "pheme key show"}

// TestHelp: every command shows how it is used, has --json or a reason not to, and fits a terminal of 80
// columns, commands to be copied apart.
func TestHelp(t *testing.T) {
	root := rootCommand()
	seen := 0
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		seen++
		for line := range strings.Lines(c.Short + "\n" + c.Long + "\n" + c.UsageString()) {
			line = strings.TrimRight(line, "\n")
			if columns := len([]rune(line)); columns > helpWidth && !strings.HasPrefix(line, "  pheme ") && !strings.Contains(line, " | ") {
				t.Errorf("%s: a line of its help has %d columns, want at most %d: %s", c.CommandPath(), columns, helpWidth, line)
			}
		}
		if c.HasSubCommands() {
			for _, child := range c.Commands() {
				look(child)
			}
			return
		}
		for flag, words := range choices {
			for _, word := range words {
				if f := c.Flags().Lookup(flag); f != nil && !strings.Contains(f.Usage, word) {
					t.Errorf("%s: the shell offers %q for --%s, of which its help says nothing: %s", c.CommandPath(), word, flag, f.Usage)
				}
			}
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if json := c.Flags().Lookup("json") != nil; json == slices.Contains(wordy, c.CommandPath()) {
			t.Errorf("%s: --json is %v: give it one, or say in this test why not", c.CommandPath(), json)
		}
	}
	look(root)
	if seen < 15 {
		t.Errorf("%d commands looked at, want all", seen)
	}
}

func TestFold(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"a paragraph", "One line\nand another.\n\nThe next.", "One line and another.\n\nThe next."},
		{"a long one", long, strings.TrimSpace(strings.Repeat("word ", 16)) + "\n" + strings.TrimSpace(strings.Repeat("word ", 14))},
		{"a list", "names:\n  a    short\n  b    " + long, "names:\n  a    short\n  b    " + strings.TrimSpace(strings.Repeat("word ", 14)) +
			"\n       " + strings.TrimSpace(strings.Repeat("word ", 14)) + "\n       word word"},
		{"a command", "  pheme " + strings.TrimSpace(long), "  pheme " + strings.TrimSpace(long)},
	} {
		if got := fold(c.text); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
