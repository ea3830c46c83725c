package gateway

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Peers finds services that run in other processes. It is safe for concurrent use.
type Peers interface {
	// Find returns where the service can be reached now, as http://HOST:PORT; false when it is
	// not known to run.
	Find(service string) (address string, ok bool)
}

// Static are peers at known addresses.
type Static map[string]string

// Find implements [Peers].
func (s Static) Find(service string) (string, bool) {
	address, ok := s[service]
	return address, ok
}

// Folder are peers that write their addresses into a data folder, as [Announce] does.
type Folder string

// Find implements [Peers].
func (f Folder) Find(service string) (string, bool) {
	content, err := os.ReadFile(f.file(service))
	if err != nil {
		return "", false
	}
	address, err := ParseAddress(strings.TrimSpace(string(content)))
	return address, err == nil
}

func (f Folder) file(service string) string {
	return filepath.Join(string(f), filepath.Base(service)+".addr")
}

// Announce writes where the service is reached, for other processes on the folder. The
// file appears whole or not at all.
func (f Folder) Announce(service, address string) error {
	temporary, err := os.CreateTemp(string(f), service+".addr.*")
	if err != nil {
		return fmt.Errorf("gateway: announce the address of %s: %w", service, err)
	}
	_, err = temporary.WriteString(address + "\n")
	if closing := temporary.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(temporary.Name(), f.file(service))
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("gateway: announce the address of %s: %w", service, err)
	}
	return nil
}

// Withdraw removes the service's address if it still is the one given: another process may
// have taken the service over.
func (f Folder) Withdraw(service, address string) {
	if current, ok := f.Find(service); ok && current == address {
		_ = os.Remove(f.file(service))
	}
}

// Either asks one after the other.
type Either []Peers

// Find implements [Peers].
func (e Either) Find(service string) (string, bool) {
	for _, peers := range e {
		if address, ok := peers.Find(service); ok {
			return address, true
		}
	}
	return "", false
}

// ParseAddress checks the address of a process, http://HOST:PORT, and returns it without a path.
func ParseAddress(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%.100q is not the address of a process: http://HOST:PORT is expected", s)
	}
	return u.Scheme + "://" + u.Host, nil
}
