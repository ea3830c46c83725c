//go:build !linux

package embedded_test

import "testing"

func smallDisk(t *testing.T) (folder string, fill, empty func(), ok bool) {
	t.Helper()
	t.Log("no disk of its own can be mounted on this system")
	return "", nil, nil, false
}
