package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/skald-go/skald"
)

// streamLimit bounds one stream: then the client asks by itself and opens another, so that
// an event lost on the way delays an order but never loses it.
const streamLimit = 10 * time.Second

type newOrder struct {
	ConsumerID      string     `json:"consumerId"`
	RestaurantID    string     `json:"restaurantId"`
	DeliveryAddress address    `json:"deliveryAddress"`
	LineItems       []lineItem `json:"lineItems"`
	Coordination    string     `json:"coordination,omitempty"`
}

type address struct {
	Zone   string `json:"zone"`
	Street string `json:"street"`
}

type lineItem struct {
	MenuItemID string `json:"menuItemId"`
	Quantity   int    `json:"quantity"`
}

// orderState is what an order, and an event of its stream, says.
type orderState struct {
	ID          string `json:"id"`
	State       string `json:"state"`
	LastRefusal string `json:"lastRefusal"`
}

// The states in which an order can end.
const (
	stateApproved  = "APPROVED"
	stateRejected  = "REJECTED"
	stateCancelled = "CANCELLED"
)

// stateTicketPending is that of a ticket which is not confirmed yet.
const stateTicketPending = "CREATE_PENDING"

// ended says that no saga moves an order of this state any more.
func (s orderState) ended() bool {
	return s.State == stateApproved || s.State == stateRejected || s.State == stateCancelled
}

func (c *Client) content(plan Plan, style, i int) []byte {
	consumers := c.shop.payers
	if among(plan.Decline, i, evenly) {
		consumers = c.shop.decliners
	}
	return mustJSON(newOrder{
		ConsumerID:      consumers[i%len(consumers)],
		RestaurantID:    c.shop.restaurants[i%len(c.shop.restaurants)],
		DeliveryAddress: address{Zone: zone, Street: "Harbour Road 7"},
		LineItems:       lineItems(i),
		Coordination:    plan.Styles[style],
	})
}

// lineItems of the order numbered i.
func lineItems(i int) []lineItem {
	return []lineItem{{menu[i%len(menu)].ID, 1 + i%3}, {menu[(i+1)%len(menu)].ID, 1}}
}

// order places one order and waits for its end.
func (c *Client) order(ctx context.Context, plan Plan, i int, due time.Time) {
	var placed orderState
	style := plan.style(i)
	err := c.post(ctx, "/v1/orders", jsonHeader(skald.NewID().String()), c.content(plan, style, i), &placed)
	if err != nil {
		c.tally.failed(err)
		return
	}
	c.tally.accepted(style, time.Since(due))
	state, err := c.await(ctx, placed.ID)
	if err != nil {
		c.tally.neverEnded(placed.ID, err)
		return
	}
	approved := c.tally.ended(style, placed.ID, state.State, among(plan.Decline, i, evenly), time.Since(due))
	if state.State == stateApproved {
		c.change(ctx, plan, placed.ID, style, i, approved)
	}
}

// await follows the order's stream and falls back to asking when the stream breaks.
func (c *Client) await(ctx context.Context, id string) (orderState, error) {
	var pause pause
	for {
		state, err := c.follow(ctx, id)
		if err == nil && state.ended() {
			return state, nil
		}
		if ctx.Err() == nil {
			state = orderState{}
			err = c.once(ctx, http.MethodGet, "/v1/orders/"+id, nil, nil, &state)
			if err == nil && state.ended() {
				return state, nil
			}
		}
		var refused *refusedError
		if errors.As(err, &refused) && !refused.passing() {
			return state, err
		}
		c.tally.retried()
		if !pause.wait(ctx) {
			return state, errors.Join(ctx.Err(), err)
		}
	}
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 1024) }}

// follow reads the stream to its end, so that the connection can be used again, and returns
// the last state that it told.
func (c *Client) follow(ctx context.Context, id string) (orderState, error) {
	ctx, cancel := context.WithTimeout(ctx, streamLimit)
	defer cancel()
	var last orderState
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.URL+"/v1/orders/"+id+"/events", nil)
	if err != nil {
		return last, err
	}
	request.Header["Accept"] = []string{"text/event-stream"}
	response, err := c.http.Do(request)
	if err != nil {
		return last, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return last, refusal(response)
	}
	reader := readers.Get().(*bufio.Reader)
	defer readers.Put(reader)
	reader.Reset(response.Body)
	return last, readStream(reader, &last)
}

// readStream returns nil at the stream's own end.
func readStream(reader *bufio.Reader, last *orderState) error {
	for {
		line, err := reader.ReadSlice('\n')
		if data, found := bytes.CutPrefix(line, []byte("data:")); found {
			*last = orderState{}
			if err := json.Unmarshal(data, last); err != nil {
				return err
			}
		}
		if err != nil {
			return endOfStream(err)
		}
	}
}

func endOfStream(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// mustJSON encodes what always can be: the client's own types.
func mustJSON(content any) []byte {
	encoded, err := json.Marshal(content)
	if err != nil {
		panic("load: " + err.Error())
	}
	return encoded
}
