package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/skald-go/skald/examples/ftgo/api/orderapi"
	"github.com/skald-go/skald/examples/ftgo/demo"
)

func command(args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	code = run(args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestWhatDoesNotWorkYetIsRefused(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cases := []struct {
		args string
		say  []string
	}{
		{"serve --store mysql", []string{"--store mysql", "sqlite and postgres"}},
		{"serve --store paper", []string{`"paper"`, "sqlite and postgres"}},
		{"serve --store postgres --dsn http://x", []string{"PostgreSQL", "postgres://"}},
		{"serve --store postgres --relay carrier-pigeon", []string{"--relay", "tail", "poll"}},
		{"serve --dsn postgres://x", []string{"--dsn", "sqlite"}},
		{"serve --broker kafka", []string{"--broker kafka", "embedded"}},
		{"serve --broker http", []string{"--broker http", "embedded"}},
		{"serve --broker nats", []string{"--broker-url"}},
		{"serve --broker-url nats://x:1", []string{"--broker-url", "--broker nats"}},
		{"serve --relay tail", []string{"--relay tail", "poll"}},
		{"serve --shards 2", []string{"--shards 2", "1 database"}},
		{"serve --service history", []string{"history does not work yet", "kitchen"}},
		{"serve --service cellar", []string{`"cellar"`, "kitchen"}},
		{"serve --peer order=here", []string{"order", "http://HOST:PORT"}},
		{"serve --log-level loud", []string{"--log-level"}},
		{"serve --nonsense", []string{"--nonsense", "--help"}},
		{"serve order", []string{"no argument"}},
		{"load --orders 0", []string{"orders"}},
		{"load --decline 2", []string{"decline"}},
		{"load --cancel 2", []string{"cancel"}},
		{"load --revise -1", []string{"revise"}},
		{"load --addr ftp://x", []string{"ftp://x"}},
		{"load --hot -1", []string{"hot orders"}},
		{"load --hot 10 --orders 0", []string{"requests"}},
		{"load --hot 10 --rate 5", []string{"--rate", "--hot"}},
		{"load --for 1m", []string{"--for", "--hot"}},
		{"load --coordination prayer", []string{`"prayer"`, "all, orchestration, choreography and parallel"}},
		{"demo --coordination dance", []string{`"dance"`, "all, orchestration, choreography and parallel"}},
		{"demo --orders -1", []string{"orders"}},
		{"check --store mysql", []string{"--store mysql"}},
		{"check --output xml", []string{"xml"}},
		{"replica rebuild --service order", []string{`"replica"`, "--help"}},
	}
	for _, c := range cases {
		args := strings.Fields(c.args)
		if args[0] == "serve" || args[0] == "check" {
			args = append(args, "--data", data)
		}
		code, out, errOut := command(args...)
		if code != 2 || out != "" {
			t.Errorf("%s: exit code %d, %s", c.args, code, out)
		}
		for _, part := range c.say {
			if !strings.Contains(errOut, part) {
				t.Errorf("%s: %q does not say %q", c.args, errOut, part)
			}
		}
	}
}

// Who asks serve to stop while it still opens its databases has asked for no failure.
func TestServeMayBeStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs([]string{"serve", "--addr", "127.0.0.1:0", "--data", t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := root.ExecuteContext(ctx); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestCheckSaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for folder, say := range map[string]string{t.TempDir(): "no database", file: "not a directory"} {
		code, out, errOut := command("check", "--wait", "0", "--data", folder)
		if code != 1 || out != "" || !strings.Contains(errOut, say) || !strings.Contains(errOut, folder) {
			t.Errorf("exit code %d, %s%s", code, out, errOut)
		}
	}
}

func TestFlagsComeFromTheEnvironmentToo(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	url := flags.String("broker-url", "", "")
	addr := flags.String("addr", "usual", "")
	shards := flags.Int("shards", 1, "")
	if err := flags.Parse([]string{"--addr", "named"}); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{"FTGO_BROKER_URL": "nats://x", "FTGO_ADDR": "variable", "FTGO_OTHER": "x"}
	lookup := func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	if err := fromEnvironment(flags, lookup); err != nil {
		t.Fatal(err)
	}
	if *url != "nats://x" || *addr != "named" || *shards != 1 {
		t.Errorf("%q %q %d", *url, *addr, *shards)
	}
	variables["FTGO_SHARDS"] = "many"
	if err := fromEnvironment(flags, lookup); err == nil || !strings.Contains(err.Error(), "FTGO_SHARDS") {
		t.Errorf("%v", err)
	}
}

func TestDemo(t *testing.T) {
	folders := filepath.Join(t.TempDir(), "tmp")
	if err := os.Mkdir(folders, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", folders)
	code, out, errOut := command("demo", "--orders", "120", "--decline", "0.25", "--json")
	var report demo.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s\n%s", code, err, out, errOut)
	}
	for i, style := range orderapi.Styles {
		if got := report.Styles[i]; got.Coordination != style || got.Approved != 90 || got.Rejected != 30 || got.Latency.P99 == 0 {
			t.Errorf("%s: %+v", style, got)
		}
	}
	if !report.OK || len(report.Changed.Styles) != len(orderapi.Styles) || report.Lone.Approved == 0 || report.HalfLoad.Rejected == 0 ||
		report.Changed.Cancelled == 0 || report.Changed.CancelRefused == 0 || report.Changed.Revised == 0 || report.Changed.ReviseRefused == 0 {
		t.Errorf("%s", out)
	}
	if left, err := os.ReadDir(folders); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
