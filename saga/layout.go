package saga

import (
	"cmp"
	"slices"
)

// graph is a drawing in layers, from left to right (Sugiyama, Tagawa and Toda's method): layers by
// the longest way from the start, few crossings by the neighbours' means, heights by the same.
type graph struct {
	nodes         []*node
	edges         []edge
	layers        [][]*node
	width, height float64
}

type node struct {
	class string
	box   bool
	lines []string
	layer int
	// The middle, and the size.
	x, y, width, height float64
	before, after       []*node // neighbours in the layers beside its own
	rank                float64
}

// dummy reports whether a node only keeps a place for an edge that passes its layer.
func (n *node) dummy() bool { return len(n.lines) == 0 }

type edge struct {
	from, to *node
	// reversed says that the edge leads back to an earlier layer.
	reversed bool
	// chain is the edge's way through the layers, from left to right.
	chain []*node
}

// Distances in the picture.
const (
	columnGap = 56.0
	rowGap    = 14.0
	margin    = 16.0
	sweeps    = 24
)

func (g *graph) add(n *node) *node {
	g.nodes = append(g.nodes, n)
	return n
}

func (g *graph) join(from, to *node) { g.edges = append(g.edges, edge{from: from, to: to}) }

func (g *graph) layout() {
	g.turnBack()
	g.assignLayers()
	g.route()
	g.order()
	g.place()
}

// turnBack finds the edges that close a cycle, going depth first in the order of declaration.
func (g *graph) turnBack() {
	const open, done = 1, 2
	state := map[*node]int{}
	var visit func(n *node)
	visit = func(n *node) {
		state[n] = open
		for i := range g.edges {
			if e := &g.edges[i]; e.from == n {
				if state[e.to] == open {
					e.reversed = true
				} else if state[e.to] == 0 {
					visit(e.to)
				}
			}
		}
		state[n] = done
	}
	for _, n := range g.nodes {
		if state[n] == 0 {
			visit(n)
		}
	}
}

// assignLayers puts each node right of all that leads to it.
func (g *graph) assignLayers() {
	for range g.nodes {
		for i := range g.edges {
			left, right := g.edges[i].ends()
			right.layer = max(right.layer, left.layer+1)
		}
	}
}

func (e *edge) ends() (left, right *node) {
	if e.reversed {
		return e.to, e.from
	}
	return e.from, e.to
}

// route fills the layers, with a dummy wherever an edge passes one.
func (g *graph) route() {
	last := 0
	for _, n := range g.nodes {
		last = max(last, n.layer)
	}
	g.layers = make([][]*node, last+1)
	for _, n := range g.nodes {
		g.layers[n.layer] = append(g.layers[n.layer], n)
	}
	for i := range g.edges {
		e := &g.edges[i]
		left, right := e.ends()
		e.chain = []*node{left}
		for layer := left.layer + 1; layer < right.layer; layer++ {
			n := g.add(&node{layer: layer, height: 2})
			g.layers[layer] = append(g.layers[layer], n)
			e.chain = append(e.chain, n)
		}
		e.chain = append(e.chain, right)
		for j := 1; j < len(e.chain); j++ {
			a, b := e.chain[j-1], e.chain[j]
			a.after, b.before = append(a.after, b), append(b.before, a)
		}
	}
}

// order sorts each layer by where its nodes' neighbours stand, from left to right and back, and keeps
// the order with the fewest crossings.
func (g *graph) order() {
	best, fewest := g.snapshot(), g.crossings()
	for sweep := range sweeps {
		for i := range g.layers {
			layer, neighbours := g.layers[i], func(n *node) []*node { return n.before }
			if sweep%2 == 1 {
				layer, neighbours = g.layers[len(g.layers)-1-i], func(n *node) []*node { return n.after }
			}
			sortByNeighbours(layer, neighbours, g.ranks())
		}
		if n := g.crossings(); n < fewest {
			best, fewest = g.snapshot(), n
		}
	}
	g.layers = best
}

func (g *graph) snapshot() [][]*node {
	layers := make([][]*node, len(g.layers))
	for i := range g.layers {
		layers[i] = slices.Clone(g.layers[i])
	}
	return layers
}

// ranks are the places of all nodes within their layers.
func (g *graph) ranks() map[*node]int {
	ranks := make(map[*node]int, len(g.nodes))
	for _, layer := range g.layers {
		for i, n := range layer {
			ranks[n] = i
		}
	}
	return ranks
}

func sortByNeighbours(layer []*node, neighbours func(*node) []*node, ranks map[*node]int) {
	for _, n := range layer {
		n.rank = float64(ranks[n])
		if beside := neighbours(n); len(beside) > 0 {
			sum := 0
			for _, b := range beside {
				sum += ranks[b]
			}
			n.rank = float64(sum) / float64(len(beside))
		}
	}
	slices.SortStableFunc(layer, func(a, b *node) int { return cmp.Compare(a.rank, b.rank) })
}

func (g *graph) crossings() int {
	ranks, count := g.ranks(), 0
	for _, layer := range g.layers {
		for i, a := range layer {
			for _, b := range layer[i+1:] {
				for _, x := range a.after {
					for _, y := range b.after {
						if ranks[x] > ranks[y] {
							count++
						}
					}
				}
			}
		}
	}
	return count
}

// place gives every node its coordinates: columns side by side, and in each column every node as near
// to the mean of its neighbours as the others let it.
func (g *graph) place() {
	x := margin
	for _, layer := range g.layers {
		widest, y := 0.0, 0.0
		for _, n := range layer {
			widest = max(widest, n.width)
		}
		for _, n := range layer {
			n.x = x + widest/2
			n.y = y
			if y += n.height + rowGap; n.dummy() {
				n.width = widest
			}
		}
		x += widest + columnGap
	}
	for sweep := range sweeps {
		for i := range g.layers {
			if sweep%2 == 0 {
				settle(g.layers[i], func(n *node) []*node { return n.before })
			} else {
				settle(g.layers[len(g.layers)-1-i], func(n *node) []*node { return n.after })
			}
		}
	}
	g.frame(x - columnGap + margin)
}

// frame moves the picture to the margin, and measures it.
func (g *graph) frame(width float64) {
	top, bottom := 0.0, 0.0
	for i, n := range g.nodes {
		if i == 0 || n.y-n.height/2 < top {
			top = n.y - n.height/2
		}
		if i == 0 || n.y+n.height/2 > bottom {
			bottom = n.y + n.height/2
		}
	}
	for _, n := range g.nodes {
		n.y += margin - top
	}
	g.width, g.height = width, bottom-top+2*margin
}

// settle moves the nodes of a column to where they want to be, as far as order and distances allow: the
// least squares of what is missed, by pooling neighbours that are in each other's way.
func settle(layer []*node, neighbours func(*node) []*node) {
	type pool struct {
		sum   float64
		count int
	}
	var pools []pool
	offset := 0.0 // of a node below the first, when all are as close as can be
	offsets := make([]float64, len(layer))
	for i, n := range layer {
		if i > 0 {
			offset += (layer[i-1].height+n.height)/2 + rowGap
		}
		offsets[i] = offset
		pools = append(pools, pool{wanted(n, neighbours(n)) - offset, 1})
		for len(pools) > 1 {
			a, b := pools[len(pools)-2], pools[len(pools)-1]
			if a.sum/float64(a.count) <= b.sum/float64(b.count) {
				break
			}
			pools = append(pools[:len(pools)-2], pool{a.sum + b.sum, a.count + b.count})
		}
	}
	i := 0
	for _, p := range pools {
		for range p.count {
			layer[i].y = p.sum/float64(p.count) + offsets[i]
			i++
		}
	}
}

func wanted(n *node, beside []*node) float64 {
	if len(beside) == 0 {
		return n.y
	}
	sum := 0.0
	for _, b := range beside {
		sum += b.y
	}
	return sum / float64(len(beside))
}
