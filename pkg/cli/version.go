// Copyright The Weir Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/pkg/dataplane"
)

// versions are what a report of a problem should say.
type versions struct {
	Weir   string `json:"weir"`
	Object string `json:"bpf_object"` // hash of the embedded programs
	Go     string `json:"go"`
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
}

func versionCommand(env *Environment) *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "versions of Weir, its BPF programs, Go and the kernel",
		UsageText: "weir version [FLAGS]",
		Category:  groupLook,
		Description: `The hash of the BPF programs tells builds apart that differ in what packets meet.

Example:
  weir version -o json`,
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			format, err := outputFormat(c)
			if err != nil {
				return err
			}
			return printVersion(env, format)
		},
	}
}

func printVersion(env *Environment, f format) error {
	v := versions{
		Weir: version, Object: dataplane.ObjectHash(), Go: runtime.Version(), Kernel: kernelRelease(), Arch: runtime.GOARCH,
	}
	if f != formatTable {
		return env.write(f, listing{value: v})
	}
	return env.print(fmt.Sprintf("weir        %s\nbpf object  %s\ngo          %s\nkernel      %s (%s)\n",
		v.Weir, v.Object, v.Go, v.Kernel, v.Arch))
}

func kernelRelease() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(uts.Release[:])
}
