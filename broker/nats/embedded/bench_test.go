package embedded_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/broker/nats/embedded"
	"github.com/skald-go/skald/inbox"
)

// BenchmarkPublishAndConsume is what a message of 300 bytes costs from relay to consumer.
func BenchmarkPublishAndConsume(b *testing.B) {
	for _, size := range []int{1, 16, 256, 1024} {
		b.Run(fmt.Sprint("batch-", size), func(b *testing.B) { benchmarkBatches(b, size) })
	}
}

func benchmarkBatches(b *testing.B, size int) {
	server, err := embedded.Start(embedded.Config{StoreDir: b.TempDir(), SyncInterval: time.Second, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Shutdown() })
	broker := connect(b, server.Config())
	session := openSession(b, broker, "")
	done := make(chan struct{})
	total := make(chan int, 4096)
	for p := range 4 {
		reader := openReader(b, broker, "kitchen", p, inbox.Position{})
		go func() {
			for {
				deliveries, err := reader.Receive(b.Context())
				if err != nil {
					return
				}
				reader.Committed(deliveries[len(deliveries)-1].Position)
				total <- len(deliveries)
			}
		}()
	}
	go func() {
		defer close(done)
		for left := b.N * size; left > 0; {
			left -= <-total
		}
	}()
	payload := bytes.Repeat([]byte("x"), 300)
	batch := make([]skald.Message, size)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for i := range batch {
			batch[i] = event(fmt.Sprint("order-", i), i)
			batch[i].Payload = payload
		}
		if _, err := session.Publish(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "msgs/s")
}
