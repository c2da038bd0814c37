// Command corpus puts every case of test/corpus to the real programs: PostgreSQL, PgBouncer and libpq out of the images of
// pgtls, with the cases' files as they are. It reads what "hack/images list" prints. For each case the checker of
// internal/custom and the programs must agree:
//
//   - A wrong case is refused, with its reason, and some program fails with it.
//   - A right case is accepted and works; and what pgtls would store in its place works too.
//   - A strict case is refused although it works, with the reason that it is marked with.
//
// With -details FILE every case is written there with what the checker and the programs said.
//
// The programs run in the unpacked images by chroot (root), and listen on the loopback. Each disagreement is a line, and the
// last line is "corpus: wrong=N refused=N right=M accepted=M".
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"pgtls.dev/pgtls/test/corpus"
)

// limit is for the whole run; a machine that is busy otherwise takes a multiple of the usual minute.
const limit = 5 * time.Minute

func main() {
	details := flag.String("details", "", "file for what was said about each case")
	postgres := flag.String("postgres", "postgres-17", "image of PostgreSQL and libpq")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	agreed, err := run(ctx, os.Stdin, os.Stdout, *postgres, *details)
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
	}
	if err != nil || !agreed {
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, images io.Reader, out io.Writer, postgres, details string) (bool, error) {
	if os.Geteuid() != 0 {
		return false, fmt.Errorf("only root may chroot into the images")
	}
	archives, err := readArchives(images)
	if err != nil {
		return false, err
	}
	cache, err := openCache()
	if err != nil {
		return false, err
	}
	defer cache.close()
	database, err := cache.unpack(ctx, postgres, archives)
	if err != nil {
		return false, err
	}
	pooler, err := cache.unpack(ctx, "pgbouncer", archives)
	if err != nil {
		return false, err
	}
	began := time.Now()
	judged, err := judgeIn(ctx, database, pooler, began)
	if err != nil {
		return false, err
	}
	if err := writeDetails(details, judged); err != nil {
		return false, err
	}
	return report(out, judged, began)
}

// judgeIn puts the cases, as of now, to the programs in two root file systems.
func judgeIn(ctx context.Context, database, pooler string, now time.Time) ([]judgement, error) {
	bench, err := newBench(ctx, database, pooler)
	if err != nil {
		return nil, err
	}
	defer bench.close()
	judged, err := bench.judgeAll(ctx, corpus.Cases(now, names()))
	if err != nil {
		return nil, fmt.Errorf("not all cases were tried: %w", err)
	}
	return judged, nil
}

func names() corpus.Names {
	return corpus.Names{
		Instance: []string{"hippo-primary.postgres.svc", "hippo-replicas.postgres.svc"},
		Pooler:   []string{"hippo-pgbouncer.postgres.svc", "hippo-pooler.postgres.svc"},
	}
}

// readArchives returns the docker-archive of each image by name.
func readArchives(list io.Reader) (map[string]string, error) {
	var images []struct {
		Name, Archive string
		Built         bool
	}
	if err := json.NewDecoder(list).Decode(&images); err != nil {
		return nil, fmt.Errorf("reading the list of images on standard input: %w", err)
	}
	archives := map[string]string{}
	for _, i := range images {
		if !i.Built {
			return nil, fmt.Errorf("image %s is not built: go run ./hack/images build --only %s", i.Name, i.Name)
		}
		archives[i.Name] = i.Archive
	}
	return archives, nil
}

// report prints disagreements and figures.
func report(out io.Writer, judged []judgement, began time.Time) (bool, error) {
	var wrong, refused, right, accepted, strict, stored, disagreements int
	for _, j := range judged {
		if why := j.disagreement(); why != "" {
			disagreements++
			fmt.Fprintf(out, "%s: %s\n    checker: %s\n    programs: %s\n", j.c.Name, why, j.checker(), oneLine(j.real.how))
		}
		switch {
		case j.c.Strict != "":
			strict++
		case j.c.Want != "":
			wrong++
			refused += count(j.refused())
		default:
			right++
			accepted += count(!j.refused())
			stored += count(j.stored.works)
		}
	}
	fmt.Fprintf(out, "strict=%d refused although the programs take them; stored=%d right cases work as pgtls encodes them, too; disagreements=%d; %.1f s\n",
		strict, stored, disagreements, time.Since(began).Seconds())
	_, err := fmt.Fprintf(out, "corpus: wrong=%d refused=%d right=%d accepted=%d\n", wrong, refused, right, accepted)
	return disagreements == 0, err
}

func writeDetails(path string, judged []judgement) error {
	if path == "" {
		return nil
	}
	var text strings.Builder
	for _, j := range judged {
		kind := "right"
		if j.c.Want != "" {
			kind = "wrong"
		}
		if j.c.Strict != "" {
			kind = "strict: " + j.c.Strict
		}
		fmt.Fprintf(&text, "%s (%s)\n    checker: %s\n    programs: %s\n", j.c.Name, kind, j.checker(), oneLine(j.real.how))
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
