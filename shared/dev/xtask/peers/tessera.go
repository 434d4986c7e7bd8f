// A log of Tessera's POSIX driver, fed as `load raw` feeds ours: leaves from memory, so many on their way at a time, no HTTP.
//
// Usage: tessera-raw FOLDER LEAVES BYTES IN_FLIGHT BATCH BATCH_AGE
//
// Prints one line of JSON. A leaf counts when its place is durable, which is when Tessera's future answers; it is in a published tree
// some time later.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func check(err error) {
	must(0, err)
}

func main() {
	folder := os.Args[1]
	leaves, size, inFlight := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3])), must(strconv.Atoi(os.Args[4]))
	batch, age := must(strconv.Atoi(os.Args[5])), must(time.ParseDuration(os.Args[6]))
	ctx := context.Background()
	secret, _, err := note.GenerateKey(nil, "tessera.example")
	check(err)
	driver := must(posix.New(ctx, posix.Config{Path: folder}))
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(must(note.NewSigner(secret))).
		WithCheckpointInterval(100*time.Millisecond).
		WithPushback(uint(4*inFlight)).
		WithBatching(uint(batch), age)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, options)
	check(err)

	var next atomic.Int64
	var lanes sync.WaitGroup
	waited := make([][]time.Duration, inFlight)
	begun := time.Now()
	for lane := range inFlight {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			for {
				number := next.Add(1)
				if number > int64(leaves) {
					return
				}
				leaf := make([]byte, size)
				binary.BigEndian.PutUint64(leaf, uint64(number))
				asked := time.Now()
				must(appender.Add(ctx, tessera.NewEntry(leaf))())
				waited[lane] = append(waited[lane], time.Since(asked))
			}
		}()
	}
	lanes.Wait()
	took := time.Since(begun)
	check(shutdown(ctx))
	var all []time.Duration
	for _, some := range waited {
		all = append(all, some...)
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"leaves":        leaves,
		"per_second":    float64(leaves) / took.Seconds(),
		"append_p50_ms": float64(all[len(all)/2].Microseconds()) / 1000,
		"append_p99_ms": float64(all[len(all)*99/100].Microseconds()) / 1000,
		"cpu_us":        float64(cpu.Microseconds()) / float64(leaves),
		"resident_mib":  usage.Maxrss / 1024,
	}))
}
