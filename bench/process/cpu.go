package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// ticksPerSecond is the unit of CPU time in /proc, which is fixed on Linux.
const ticksPerSecond = 100

// CPU is time spent since the beginning, in seconds.
type CPU struct {
	Machine float64 // all of it, but for idling and waiting for disks
	Self    float64 // this process
	Server  float64 // the server, and those of its processes that have ended
}

// Since is the time spent since before.
func (c CPU) Since(before CPU) CPU {
	return CPU{c.Machine - before.Machine, c.Self - before.Self, c.Server - before.Server}
}

// Sample reads the times of the machine, of this process, and of a server that runs as a process and
// its children; 0 is no server.
func Sample(server int) CPU {
	c := CPU{Machine: machine(), Self: read("self").own}
	if server == 0 {
		return c
	}
	root := read(strconv.Itoa(server))
	c.Server = root.own + root.ended
	all, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, dir := range all {
		if child := read(filepath.Base(dir)); child.parent == server {
			c.Server += child.own
		}
	}
	return c
}

type times struct {
	parent     int
	own, ended float64 // of itself, and of its children that have ended
}

// read reads the file stat of a process, whose fields count from behind the name, in brackets.
func read(pid string) (t times) {
	content, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return t // it has ended
	}
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	const parent, user, system, endedUser, endedSystem = 1, 11, 12, 13, 14
	if len(fields) <= endedSystem {
		return t
	}
	t.parent = int(number(fields[parent]))
	t.own = (number(fields[user]) + number(fields[system])) / ticksPerSecond
	t.ended = (number(fields[endedUser]) + number(fields[endedSystem])) / ticksPerSecond
	return t
}

func number(field []byte) float64 {
	n, _ := strconv.ParseFloat(string(field), 64) // the kernel writes numbers
	return n
}

// machine adds up the first line of /proc/stat, without what guests are counted for twice.
func machine() (busy float64) {
	content, _ := os.ReadFile("/proc/stat") // where there is none, it is 0
	line, _, _ := bytes.Cut(content, []byte("\n"))
	const idle, waiting, guest = 4, 5, 9
	for i, field := range bytes.Fields(line) {
		if i > 0 && i < guest && i != idle && i != waiting {
			busy += number(field)
		}
	}
	return busy / ticksPerSecond
}
