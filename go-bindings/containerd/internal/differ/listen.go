// SPDX-License-Identifier: Apache-2.0

package differ

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// listen takes the socket that systemd passed, or makes its own at address, for root alone. It says
// where it listens.
func listen(address string) (net.Listener, string, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, "", fmt.Errorf("socket activation: %w", err)
	}
	switch {
	case len(passed) == 1 && passed[0] != nil:
		return passed[0], passed[0].Addr().String(), nil
	case len(passed) > 0:
		return nil, "", fmt.Errorf("socket activation: one stream socket is needed, %d were passed", len(passed))
	}
	if err := os.MkdirAll(filepath.Dir(address), 0o755); err != nil {
		return nil, "", err
	}
	// Under another name until its mode is right: there is no moment in which others may connect,
	// and no socket of a killed predecessor in the way.
	unready := address + ".new"
	if err := os.Remove(unready); err != nil && !os.IsNotExist(err) {
		return nil, "", err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: unready, Net: "unix"})
	if err != nil {
		return nil, "", err
	}
	listener.SetUnlinkOnClose(false)
	if err := os.Chmod(unready, 0o600); err == nil {
		err = os.Rename(unready, address)
	}
	if err != nil {
		listener.Close()
		return nil, "", fmt.Errorf("socket: %w", err)
	}
	return listener, address, nil
}

// lock keeps a second daemon away from the state directory, whose mounts it would remove. It goes
// with the process.
func lock(state string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(state, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s is in use by another ocilayer-differ: %w", state, err)
	}
	return file, nil
}
