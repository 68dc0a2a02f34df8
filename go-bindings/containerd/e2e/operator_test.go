// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ocilayer/ocilayer/go-bindings/containerd/internal/testneeds"
)

// standIn is systemctl where no systemd runs. It starts what the installed unit says.
const standIn = `#!/bin/sh
set -eu
start() { "$@" >>"$SANDBOX/log" 2>&1 & }
case "$*" in
    "enable --now ocilayer-differ.socket ocilayer-differ.service")
        units=/usr/local/lib/systemd/system
        socket=$(sed -n 's/^ListenStream=//p' $units/ocilayer-differ.socket)
        mkdir -p "${socket%/*}"
        start systemd-socket-activate --listen="$socket" $(sed -n 's/^ExecStart=//p' $units/ocilayer-differ.service)
        ;;
    "restart containerd")
        socket=/run/containerd/containerd.sock
        if [ -e "$SANDBOX/pid" ]; then
            kill -KILL "$(cat "$SANDBOX/pid")"
            rm "$socket"
        fi
        start containerd
        echo $! >"$SANDBOX/pid"
        ;;
    *) echo "no stand-in for systemctl $*" >&2; exit 1 ;;
esac
while [ ! -S "$socket" ]; do sleep 0.05; done
`

// sandbox gives the operator's commands a machine of their own: what they write to the system goes
// to layers of overlayfs, and what they start ends with them.
const sandbox = `set -eu
for dir in etc run opt usr/local var/lib; do
    mkdir -p "$SANDBOX/upper/$dir" "$SANDBOX/work/$dir"
    mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$SANDBOX/upper/$dir,workdir=$SANDBOX/work/$dir" "/$dir"
done
# Snapshots cannot be upper directories on an overlay.
mkdir -p /var/lib/containerd "$SANDBOX/containerd"
mount --bind "$SANDBOX/containerd" /var/lib/containerd
rm -rf /etc/containerd /etc/ocilayer /run/containerd /run/ocilayer
# The machine has a containerd, and it runs.
systemctl restart containerd
`

func TestOperatorsPageWorksAsWritten(t *testing.T) {
	testneeds.Root(t)
	page, err := os.ReadFile(filepath.Join(repository(t), "docs", "containerd.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no commands")
	}
	commands := string(block[1])
	if lines := strings.Count(commands, "\n"); lines > 10 {
		t.Errorf("%d lines, and not ten", lines)
	}
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			said, log := operate(t, release, commands)
			if !strings.Contains(said, "uses the differ") {
				t.Errorf("the second check is not content:\n%s", said)
			}
			if layers := strings.Count(log, "layer applied"); layers != 3 {
				t.Errorf("the differ applied %d layers, not 3:\n%s\n%s", layers, said, lastLines(log, 40))
			}
		})
	}
}

// operate runs commands with the release's containerd, and returns what they and the daemons said.
func operate(t *testing.T, release release, commands string) (said, log string) {
	t.Helper()
	dir := shortTempDir(t)
	bin := filepath.Join(dir, "bin")
	image, err := os.ReadFile(debianImage(t, "gzip"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"bin/systemctl": standIn,
		"image.tar":     string(image),
		// The first check is said to end with 1: the block goes on there, as an operator would.
		"commands": sandbox + "cd \"$REPOSITORY\"\nset +e\n" +
			strings.ReplaceAll(commands, "image.tar", "\"$SANDBOX/image.tar\""),
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-x", filepath.Join(dir, "commands"))
	command.Env = append(os.Environ(), "SANDBOX="+dir, "REPOSITORY="+repository(t),
		"PATH="+bin+":"+release.stock(t)+":"+os.Getenv("PATH")+":/usr/local/bin:/usr/sbin:/sbin")
	out, err := command.CombinedOutput()
	text, _ := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, out, lastLines(string(text), 40))
	}
	return string(out), string(text)
}
