package skald_test

import (
	"testing"

	"github.com/skald-go/skald"
)

// BenchmarkDecode is the reading of a command of some 300 bytes.
func BenchmarkDecode(b *testing.B) {
	type item struct {
		MenuItem string `json:"menuItem"`
		Name     string `json:"name"`
		Price    string `json:"price"`
		Quantity int    `json:"quantity"`
	}
	type order struct {
		OrderID    string `json:"orderId"`
		ConsumerID string `json:"consumerId"`
		Restaurant string `json:"restaurantId"`
		Items      []item `json:"items"`
		Total      string `json:"total"`
	}
	m := valid()
	m.Payload = []byte(`{"orderId":"0198c0de-7a3b-7c1e-8f00-1d2c3b4a5968","consumerId":"0198c0de-7a3b-7c1e-8f00-aabbccddeeff","restaurantId":"ajanta",` +
		`"items":[{"menuItem":"vindaloo","name":"Chicken Vindaloo","price":"12.34","quantity":2},{"menuItem":"naan","name":"Naan","price":"2.50","quantity":1}],"total":"27.18"}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Payload)))
	for b.Loop() {
		var content order
		if err := skald.Decode(&m, &content); err != nil {
			b.Fatal(err)
		}
	}
}
