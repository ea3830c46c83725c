package main

import (
	"testing"

	"github.com/skald-go/skald/skaldtest"
)

func TestCreateOrderInEveryCourse(t *testing.T) {
	skaldtest.Explore(t, createOrder, skaldtest.From(order{ID: "1"}))
}

func TestADeclinedChargeLeavesNoOrder(t *testing.T) {
	skaldtest.Replay(t, createOrder, `
		the saga starts: do "create" lands
		shop.payment gets do "charge": do "charge" refuses: declined
		explored gets the reply to do "charge" (refused): undo "create" lands
	`)
}
