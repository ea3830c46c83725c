package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/skald-go/skald"
	"github.com/skald-go/skald/bench/cluster"
	"github.com/skald-go/skald/bench/process"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/store/postgres"
)

// Backlog is one JSON line: what it took to publish messages that waited in an outbox. Memory is the
// most that the process took, with the broker in it; 0 where the system does not say.
type Backlog struct {
	System    string  `json:"system"`
	Messages  int     `json:"messages"`
	Table     float64 `json:"from_the_table_messages_per_s"`
	TablePeak int     `json:"from_the_table_peak_mib"`
	Log       float64 `json:"from_the_log_messages_per_s"`
	LogPeak   int     `json:"from_the_log_peak_mib"`
}

// RunBacklog has the relay publish so many messages twice: read from the table, before there is a
// replication slot, and from the log.
func RunBacklog(ctx context.Context, messages int, report func(phase string, done, total int)) (result Backlog, err error) {
	result = Backlog{System: "skald, tail", Messages: messages}
	c, err := cluster.Start(ctx)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	p := &throughOutbox{}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.openStore(ctx, c, postgres.Tail, reserved); err != nil {
		return result, err
	}
	quiet := slog.New(slog.DiscardHandler)
	broker, err := p.startBroker(ctx, quiet, brokerBytes+int64(messages)<<11)
	if err != nil {
		return result, err
	}
	for _, from := range []struct {
		name string
		rate *float64
		peak *int
	}{{"from the table", &result.Table, &result.TablePeak}, {"from the log", &result.Log, &result.LogPeak}} {
		phase := func(what string, done int) { report(from.name+": "+what, done, messages) }
		if err := fill(ctx, p.pool, messages, func(done int) { phase("fill", done) }); err != nil {
			return result, err
		}
		r, err := relay.New(p.store, broker, relay.Config{Logger: quiet})
		if err != nil {
			return result, err
		}
		process.ForgetPeak()
		if *from.rate, err = publishAll(ctx, r, messages, func(done int) { phase("publish", done) }); err != nil {
			return result, err
		}
		*from.peak = process.Peak()
	}
	return result, nil
}

// fill adds messages to the outbox by the server itself: their ids end with their number.
func fill(ctx context.Context, pool *pgxpool.Pool, messages int, report func(done int)) error {
	const each, idAt = 100_000, 3 // in a message's binary form, counted from 1
	templates := make([][]byte, keys)
	names := make([]string, keys)
	for i := range templates {
		m, err := event.Message(filler)
		if err != nil {
			return err
		}
		names[i] = strconv.Itoa(i)
		m.ID, m.Key, m.Source, m.Time = skald.NewID(), names[i], "sender", time.Now().UTC()
		if templates[i], err = m.MarshalBinary(); err != nil {
			return err
		}
	}
	for done := 0; done < messages; done += each {
		report(done)
		_, err := pool.Exec(ctx, `INSERT INTO skald_outbox (bucket, id, channel, key, type, message)
SELECT (SELECT bucket FROM skald_relay), encode(substr(message, $5::integer, 16), 'hex')::uuid, $1, key, $2, message
FROM (SELECT ($4::text[])[n % cardinality($3::bytea[]) + 1] AS key, overlay(($3::bytea[])[n % cardinality($3::bytea[]) + 1] PLACING int8send(n) FROM $5::integer + 8) AS message
FROM generate_series($6::bigint, $7::bigint) AS n) AS numbered`,
			event.Channel, event.Name, templates, names, idAt, done, min(done+each, messages)-1)
		if err != nil {
			return fmt.Errorf("fill the outbox: %w", err)
		}
	}
	return nil
}

// publishAll runs the relay until nothing is left, and returns the rate.
func publishAll(ctx context.Context, r *relay.Relay, messages int, report func(done int)) (float64, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- r.Run(running) }()
	for {
		pause(ctx, time.Second)
		lag, err := r.Lag(ctx)
		if err != nil {
			return 0, err
		}
		report(messages - int(lag.Messages))
		if lag.Messages == 0 {
			rate := rounded(float64(messages) / time.Since(began).Seconds())
			stop()
			return rate, <-ended
		}
	}
}
