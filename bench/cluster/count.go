package cluster

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
)

var (
	_ pgx.QueryTracer = (*Count)(nil)
	_ pgx.BatchTracer = (*Count)(nil)
)

// Count counts statements and round trips of a database's connections. Its zero value works; it is
// safe for concurrent use.
type Count struct {
	mu         sync.Mutex
	trips      int
	statements map[string]*counted
}

// counted is how often a statement was executed, and how many rows it got as arrays.
type counted struct{ times, elements int }

// TraceQueryStart implements [pgx.QueryTracer].
func (c *Count) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trips++
	c.add(data.SQL, data.Args)
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (c *Count) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements [pgx.BatchTracer].
func (c *Count) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trips++
	return ctx
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (c *Count) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(data.SQL, data.Args)
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (c *Count) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (c *Count) add(query string, args []any) {
	if c.statements == nil {
		c.statements = map[string]*counted{}
	}
	s := c.statements[query]
	if s == nil {
		s = &counted{}
		c.statements[query] = s
	}
	s.times++
	for _, arg := range args {
		if v := reflect.ValueOf(arg); v.Kind() == reflect.Slice {
			s.elements += v.Len()
			break
		}
	}
}

// Reset begins anew.
func (c *Count) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trips, c.statements = 0, nil
}

// Write writes what was counted, as so much for each of so many operations, the most frequent
// statements first.
func (c *Count) Write(out io.Writer, name string, operations int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := 0
	for _, s := range c.statements {
		all += s.times
	}
	each := func(n int) float64 { return float64(n) / float64(max(operations, 1)) }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s: %.3f statements and %.3f round trips each\n", name, each(all), each(c.trips))
	byTimes := slices.SortedFunc(maps.Keys(c.statements), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.statements[b].times, c.statements[a].times), cmp.Compare(a, b))
	})
	for _, query := range byTimes {
		s := c.statements[query]
		text := strings.Join(strings.Fields(query), " ")
		fmt.Fprintf(w, "  %.4f\t%.1f in its array\t%.100s\n", each(s.times), float64(s.elements)/float64(s.times), text)
	}
	return w.Flush()
}
