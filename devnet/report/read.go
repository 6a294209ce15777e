package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrRun is wrapped by every complaint about a run's folder.
var ErrRun = errors.New("run")

// maxResults bounds a results.json before it is read: the largest sweeps' cells take a tenth of it.
const maxResults = 512 << 20

// ReadResults reads the results of a finished run from its folder.
func ReadResults(dir string) (*Results, error) {
	path := filepath.Join(dir, ResultsFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no %s: name the folder of a run, such as runs/%s", ErrRun, dir, ResultsFile, LatestLink)
	}
	if info.Size() > maxResults {
		return nil, fmt.Errorf("%w: %s is %d bytes: at most %d are read", ErrRun, path, info.Size(), maxResults)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	r, err := DecodeResults(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.Folder = dir
	return r, nil
}

// DecodeResults reads results.json.
func DecodeResults(text []byte) (*Results, error) {
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRun, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("%w: its schema is %q, this program reads %q: use the program that made it, or measure again", ErrRun, r.Schema, Schema)
	}
	return &r, nil
}
