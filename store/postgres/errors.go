package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/skald-go/skald/inbox"
	"github.com/skald-go/skald/relay"
	"github.com/skald-go/skald/saga"
)

// The codes with which Skald's own functions in the database refuse.
const (
	codeFenced  = "SK001" // a lease has passed to another
	codeChanged = "SK002" // a row is not the one that was loaded
)

// PostgreSQL's codes (appendix A of its documentation) that are told apart.
const (
	codeQueryCanceled    = "57014"
	codeUniqueViolation  = "23505"
	codeObjectInUse      = "55006"
	codeUndefinedObject  = "42704"
	codeDuplicateObject  = "42710"
	codeOutOfMemory      = "53200" // of the table of locks, for one
	codeReadOnly         = "25006" // a standby, for now
	codeLockNotAvailable = "55P03"
	codeNotPrepared      = "55000" // of a slot: wal_level is not logical

	codeInsufficientPrivilege = "42501"
	codeInvalidSchemaName     = "3F000" // there is none on the search path, for one
)

// failure says what was being done when err came up, in the vocabulary of the core's packages;
// nil for nil.
func failure(doing string, err error) error {
	if err == nil {
		return nil
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch {
		case server.Code == codeChanged:
			err = fmt.Errorf("%w (%w)", saga.ErrStale, err)
		case server.Code == codeFenced:
			err = fmt.Errorf("%w (%w)", inbox.ErrFenced, err)
		case server.Code == codeUniqueViolation && strings.HasPrefix(server.ConstraintName, "skald_sagas"):
			err = fmt.Errorf("%w (%w)", saga.ErrConflict, err)
		case server.Code == codeOutOfMemory:
			err = fmt.Errorf("%w: a transaction that adds messages of very many keys adds them in one call, or the server's max_locks_per_transaction is raised", err)
		}
	}
	return fmt.Errorf("postgres: %s: %w", doing, err)
}

// fenced is ErrFenced when an update that names the relay's lease has changed nothing.
func fenced(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return relay.ErrFenced
	}
	return err
}

func hasCode(err error, codes ...string) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range codes {
		if server.Code == code {
			return true
		}
	}
	return false
}

// Retryable implements [inbox.Store]: conflicts that the server resolved by ending this side, and
// everything about the connection or the server's state that can pass. What a handler
// has met elsewhere is none of it, however much it looks like it.
func (s *Store) Retryable(err error) bool {
	var stranger *tls.CertificateVerificationError
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		hasCode(err, codeInsufficientPrivilege) || errors.As(err, &stranger) {
		return false
	}
	var connect *pgconn.ConnectError
	if errors.Is(err, errConnectionLost) || errors.As(err, &connect) {
		return true
	}
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	switch server.Code {
	case codeChanged, codeObjectInUse, codeLockNotAvailable, codeReadOnly:
		return true
	case codeOutOfMemory, // it may be the batch that is too large
		codeQueryCanceled: // it may be one message's statement that takes too long
		return false
	}
	switch server.Code[:2] {
	case "40", // serialization failure, deadlock
		"08",             // connection
		"53", "57", "58": // resources, operator's intervention, system
		return true
	}
	return false
}

// errConnectionLost says that a connection broke under a transaction, whose end is unknown then.
var errConnectionLost = errors.New("the connection to the server was lost")

// lost is what err means after which a connection is closed. The driver closes it also when a
// parameter of a queue cannot be encoded: that would happen again.
func lost(err error) error {
	var parameter pgx.ErrPreprocessingBatch
	var server *pgconn.PgError
	if errors.As(err, &parameter) && !errors.As(err, &server) && !isNetwork(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errConnectionLost, err)
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
