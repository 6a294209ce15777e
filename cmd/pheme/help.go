package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how many columns the help takes: those of a terminal that nobody has widened.
const helpWidth = 80

// fitHelp breaks the texts of a command and of those below it, and their flags, at helpWidth.
func fitHelp(cmd *cobra.Command) {
	cmd.Long, cmd.Example = fold(cmd.Long), fold(cmd.Example)
	for _, child := range cmd.Commands() {
		fitHelp(child)
	}
	if !cmd.HasParent() {
		cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages ", fmt.Sprintf(".FlagUsagesWrapped %d ", helpWidth)))
	}
}

// entry is a line of a list: what is explained, and behind at least two spaces the explanation.
var entry = regexp.MustCompile(`^ +[^ ]+  +`)

// fold fills paragraphs anew, and hangs what is too long for a line of a list below itself. Other lines that
// are indented are commands or files, and stay as they are.
func fold(text string) string {
	var out []string
	var words []string
	end := func() {
		out, words = fill(out, "", "", words), nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		head := entry.FindString(line)
		switch {
		case line == "":
			end()
			out = append(out, "")
		case len(line) > helpWidth && head != "":
			end()
			out = fill(out, head, strings.Repeat(" ", len(head)), strings.Fields(line[len(head):]))
		case line[0] == ' ':
			end()
			out = append(out, line)
		default:
			words = append(words, strings.Fields(line)...)
		}
	}
	end()
	return strings.Join(out, "\n")
}

// fill appends lines of words to out, the first behind first and the others behind rest.
func fill(out []string, first, rest string, words []string) []string {
	line := first
	for i, word := range words {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > helpWidth:
			out = append(out, line)
			line = rest + word
		default:
			line += " " + word
		}
	}
	if len(words) == 0 {
		return out
	}
	return append(out, line)
}
