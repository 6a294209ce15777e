package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/pheme-net/pheme/devnet/experiment"
)

// Names in a run's folder, and of the link beside the folders.
const (
	ResultsFile    = "results.json"
	DeliveriesFile = "deliveries.csv"
	ExperimentFile = "experiment.toml"
	PageFile       = "report.html"
	LatestLink     = "latest"
)

// maxSame bounds how often one experiment is run into one folder of runs.
const maxSame = 10_000

// NewFolder makes the folder of a run, <out>/<name>-<digest>. A former run of the same experiment
// is never overwritten: the next folder is <name>-<digest>-2, and so on.
func NewFolder(out string, spec experiment.Spec) (string, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of runs: %w", err)
	}
	for i := 1; i < maxSame; i++ {
		dir := folder(out, spec, i)
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
	return "", fmt.Errorf("%s has been run %d times into %s: remove some or pass another --out", spec.Name, maxSame, out)
}

// folder is that of an experiment's nth run, from 1.
func folder(out string, spec experiment.Spec, n int) string {
	dir := filepath.Join(out, spec.Name+"-"+spec.Digest())
	if n > 1 {
		dir += "-" + strconv.Itoa(n)
	}
	return dir
}

// Former are the folders of an experiment's runs in a folder of runs, the last first.
func Former(out string, spec experiment.Spec) (dirs []string) {
	for i := 1; i < maxSame; i++ {
		dir := folder(out, spec, i)
		if _, err := os.Stat(dir); err != nil {
			break
		}
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}

// Write puts the results, the resolved experiment, the deliveries and the page into dir and lets
// "latest" beside dir point to it.
func Write(dir string, r *Results, runs []Run) error {
	resolved, err := r.Experiment.Encode()
	if err != nil {
		return err
	}
	text, err := r.JSON()
	if err != nil {
		return err
	}
	var deliveries, page bytes.Buffer
	if err := Deliveries(&deliveries, runs); err != nil {
		return err
	}
	if err := Page(&page, r); err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{ExperimentFile, resolved}, {DeliveriesFile, deliveries.Bytes()}, {PageFile, page.Bytes()},
		{ResultsFile, text}, // the last: a folder that has it is whole
	} {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.content, 0o644); err != nil {
			return fmt.Errorf("write the run: %w", err)
		}
	}
	r.Folder = dir
	return link(dir)
}

// link points "latest" to dir by a relative link, so that the folder of runs can be moved. The old
// link is replaced at once, never missing.
func link(dir string) error {
	latest := filepath.Join(filepath.Dir(dir), LatestLink)
	fresh := latest + "." + filepath.Base(dir) // runs of a sweep end side by side
	if err := os.Symlink(filepath.Base(dir), fresh); err != nil {
		return fmt.Errorf("link the latest run: %w", err)
	}
	if err := os.Rename(fresh, latest); err != nil {
		return errors.Join(fmt.Errorf("link the latest run: %w", err), os.Remove(fresh))
	}
	return nil
}

// JSON is results.json.
func (r *Results) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode results: %w", err)
	}
	return append(text, '\n'), nil
}
