package host

import (
	"strconv"
	"strings"
)

// Dialect is a kind of database. Each has its own file of a service's schema; the services'
// statements are one text for all, with placeholders as SQLite has them, "?" or "?1".
type Dialect string

// The dialects.
const (
	SQLite     Dialect = "sqlite" // the embedded default
	PostgreSQL Dialect = "postgres"
)

// statement writes a statement as the dialect wants it. Rows that are read with lock stay as they
// are until the transaction ends; on SQLite they do in any case, because a transaction of the
// runtime's is the only one that writes.
func (d Dialect) statement(query string, lock bool) string {
	if d != PostgreSQL {
		return query
	}
	if lock {
		query += " FOR UPDATE"
	}
	return numbered(query)
}

// once makes a schema's statements run by one process at a time, in one transaction: two that
// made the same table at once would fail on PostgreSQL.
func (d Dialect) once(statements string) string {
	if d != PostgreSQL {
		return statements
	}
	return "SELECT pg_advisory_xact_lock(" + strconv.Itoa(schemaLock) + ");\n" + statements
}

// schemaLock is the number of the lock, unlike any other that is used in the services' databases.
const schemaLock = 0x6674676f // "ftgo"

// numbered turns "?" and "?1" into PostgreSQL's "$1".
func numbered(query string) string {
	var text strings.Builder
	number := 0
	for i, c := range []byte(query) {
		if c != '?' {
			text.WriteByte(c)
			continue
		}
		text.WriteByte('$')
		if i+1 == len(query) || query[i+1] < '0' || query[i+1] > '9' {
			number++
			text.WriteString(strconv.Itoa(number))
		}
	}
	return text.String()
}
