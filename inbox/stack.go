package inbox

import "runtime"

// stack is the current goroutine's stack, bounded.
func stack() string {
	b := make([]byte, 8<<10)
	return string(b[:runtime.Stack(b, false)])
}
