package httpkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/skald-go/skald"
)

// MaxBody bounds a request's body, in bytes.
const MaxBody = 1 << 20

// Decode reads a request's body, one JSON value. Fields that content does not have are ignored. Its
// errors are problems: 413 for a body over [MaxBody], 400 for what is not JSON, 422 for a value
// of the wrong type, with the field named.
func Decode(w http.ResponseWriter, r *http.Request, content any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	err := decoder.Decode(content)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil || !errors.As(err, new(*http.MaxBytesError)) {
			return NewProblem(http.StatusBadRequest, "the body holds more than one JSON value")
		}
	}
	return decodeProblem(err)
}

func decodeProblem(err error) *Problem {
	var (
		tooLarge  *http.MaxBytesError
		wrongType *json.UnmarshalTypeError
		syntax    *json.SyntaxError
	)
	switch {
	case errors.As(err, &tooLarge):
		return NewProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &wrongType):
		p := NewProblem(http.StatusUnprocessableEntity, "a value of the wrong type")
		field := wrongType.Field
		if field == "" {
			field = "body"
		}
		p.Errors = []FieldError{{Field: field, Detail: "is " + article(wrongType.Value) + ", not " + jsonKind(wrongType)}}
		return p
	case errors.Is(err, io.EOF):
		return NewProblem(http.StatusBadRequest, "the body is empty; it must be a JSON object")
	case errors.As(err, &syntax):
		return NewProblem(http.StatusBadRequest, "malformed JSON at byte %d: %s", syntax.Offset, syntax.Error())
	default:
		return NewProblem(http.StatusBadRequest, "malformed JSON: the body ends too early or cannot be read")
	}
}

func jsonKind(e *json.UnmarshalTypeError) string {
	switch kind := e.Type.Kind().String(); kind {
	case "int", "int64":
		return "a whole number"
	case "struct", "map":
		return article("object")
	case "slice":
		return article("array")
	default:
		return article(kind)
	}
}

func article(noun string) string {
	if strings.HasPrefix(noun, "a") || strings.HasPrefix(noun, "o") {
		return "an " + noun
	}
	return "a " + noun
}

// Reply answers with a value as JSON.
func Reply(w http.ResponseWriter, status int, content any) error {
	body, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone: nobody to tell
	return nil
}

// PathID reads the path's {id}. What is not a UUID is the id of nothing: kind is not found.
func PathID(r *http.Request, kind string) (string, error) {
	id, ok := ParseID(r.PathValue("id"))
	if !ok {
		return "", NotFound(kind)
	}
	return id, nil
}

// ParseID brings a UUID into the form in which it is stored: lower case.
func ParseID(s string) (string, bool) {
	if _, err := skald.ParseID(s); err != nil {
		return "", false
	}
	return strings.ToLower(s), true
}

// Time is a stored moment, in microseconds since 1970, as RFC 3339 in UTC.
func Time(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }
