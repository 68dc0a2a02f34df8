// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// proxy is an ocilayer-differ beside a containerd.
type proxy struct {
	*daemon
	dir     string
	metrics string
}

// configFor are the lines of containerd's configuration that load the differ.
func (p *proxy) configFor() string {
	return fmt.Sprintf("[proxy_plugins.ocilayer]\n  type = \"diff\"\n  address = %q\n", p.socket())
}

func (p *proxy) socket() string { return filepath.Join(p.dir, "differ.sock") }

// startDiffer runs an ocilayer-differ for the containerd that will use dir, and waits until it
// says that it is ready, in the way that systemd hears it.
func startDiffer(t testing.TB, dir string, flags ...string) *proxy {
	t.Helper()
	return launcher{}.start(t, dir, flags...)
}

// launcher is what starts a differ, if it is not started as it is.
type launcher struct {
	// command comes before the differ's own.
	command []string
	// files are passed to it, from descriptor 3 on.
	files []*os.File
}

func startDifferBy(t testing.TB, dir string, command []string, files ...*os.File) *proxy {
	t.Helper()
	return launcher{command, files}.start(t, dir)
}

func (l launcher) start(t testing.TB, dir string, flags ...string) *proxy {
	t.Helper()
	p := &proxy{dir: dir}
	notify := filepath.Join(dir, "notify.sock")
	os.Remove(notify)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	log := filepath.Join(dir, "differ.log")
	os.Remove(log)
	command := append(l.command, differ(t), "serve",
		"--config", emptyConfig(t, dir),
		"--address", p.socket(),
		"--containerd", filepath.Join(dir, "containerd.sock"),
		"--state", filepath.Join(dir, "differ"),
		"--metrics", "127.0.0.1:0",
	)
	if !slices.Contains(flags, "--root") {
		command = append(command, "--root", dir)
	}
	command = append(command, flags...)
	p.daemon = startDaemonWith(t, log, []string{"NOTIFY_SOCKET=" + notify}, l.files, command[0], command[1:]...)
	p.awaitReady(t, conn)
	p.metrics = "http://" + p.metricsAddress(t) + "/metrics"
	return p
}

func (p *proxy) awaitReady(t testing.TB, conn *net.UnixConn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 64)
	n, err := conn.Read(message)
	if err != nil || string(message[:n]) != "READY=1" {
		text, _ := os.ReadFile(p.log)
		t.Fatalf("the differ said %q, %v\n%s", message[:n], err, text)
	}
}

// metricsAddress is what the differ's log says: its port is one that was free.
func (p *proxy) metricsAddress(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`msg=metrics address=(\S+)`).FindSubmatch(text)
	if address == nil {
		t.Fatalf("no address of the metrics in:\n%s", text)
	}
	return string(address[1])
}

func emptyConfig(t testing.TB, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "differ.toml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// metric is the value of one series, 0 where it does not exist yet.
func (p *proxy) metric(t testing.TB, series string) int {
	t.Helper()
	answer, err := http.Get(p.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(body), "\n") {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(number)
		}
	}
	return 0
}

func (p *proxy) applied(t testing.TB) int {
	return p.metric(t, `ocilayer_differ_layers_total{result="applied"}`)
}

// byTransfer has containerd's transfer service use a differ, as `ctr image import` and pull do.
func byTransfer(differ string) string {
	return fmt.Sprintf(`[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/%s"
  snapshotter = "overlayfs"
  differ = %q
`, goarch, differ)
}

// byService has containerd's diff service use a differ, as `ctr image import --local` does.
func byService(differ string) string {
	return fmt.Sprintf("[plugins.\"io.containerd.service.v1.diff-service\"]\n  default = [%q, \"walking\"]\n", differ)
}

// goarch is the platform that images here are for: this machine's.
const goarch = runtime.GOARCH

// threeAtOnce has containerd unpack three layers at a time. It comes before byTransfer, whose table
// is inside of this one.
const threeAtOnce = "[plugins.\"io.containerd.transfer.v1.local\"]\n  max_concurrent_unpacks = 3\n"
