package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dirLock keeps a second process out of a data dir. The kernel drops it when the
// process ends, however it ends; the pid in the file is only for the message.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data dir: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		raw, _ := os.ReadFile(path)
		pid := strings.TrimSpace(string(raw))
		if pid == "" {
			pid = "unknown"
		}
		return nil, errors.Join(fmt.Errorf("%w by process %s: %s: stop it or pass --data-dir", ErrInUse, pid, dir), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data dir: %w", err), f.Close())
	}
	return &dirLock{f}, nil
}

// unlock empties the file, so that it never names a process that is gone.
func (l *dirLock) unlock() error { return errors.Join(l.f.Truncate(0), l.f.Close()) }
