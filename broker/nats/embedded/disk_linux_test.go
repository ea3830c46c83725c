package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk returns a folder on a disk of its own that can be made full and empty again;
// false where this process may not mount one.
func smallDisk(t *testing.T) (folder string, fill, empty func(), ok bool) {
	t.Helper()
	folder = t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=64m"); err != nil {
		t.Logf("no disk of its own can be mounted (%v)", err)
		return "", nil, nil, false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(folder, "ballast")
	fill = func() {
		f, err := os.Create(ballast)
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	empty = func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
	return folder, fill, empty, true
}
