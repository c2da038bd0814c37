package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"pgtls.dev/pgtls/internal/custom"
	"pgtls.dev/pgtls/internal/pki"
	"pgtls.dev/pgtls/test/corpus"
)

// verdict is what the real programs did.
type verdict struct {
	works  bool
	how    string
	broken error // it says nothing about the case
}

func fails(format string, args ...any) verdict { return verdict{how: fmt.Sprintf(format, args...)} }

// judgement puts both sides of a case together.
type judgement struct {
	c        corpus.Case
	findings []custom.Finding
	real     verdict // with the user's files
	stored   verdict // with what pgtls makes of them, if it accepts
}

func (j judgement) refusal() (custom.Finding, bool) {
	for _, f := range j.findings {
		if f.Severity == custom.Refuse {
			return f, true
		}
	}
	return custom.Finding{}, false
}

func (j judgement) refused() bool {
	_, refused := j.refusal()
	return refused
}

func (j judgement) checker() string {
	if f, refused := j.refusal(); refused {
		return fmt.Sprintf("refused, %s: %s", f.Reason, f.Message)
	}
	return "accepted"
}

// disagreement says what is not as it should be, or nothing.
func (j judgement) disagreement() string {
	f, refused := j.refusal()
	switch {
	case j.c.Want == "" && refused:
		return "a right case is refused"
	case j.c.Want != "" && !refused:
		return "a wrong case is accepted"
	case refused && f.Reason != j.c.Want:
		return fmt.Sprintf("refused with another reason than %s", j.c.Want)
	case j.c.Works() && !j.real.works:
		return "marked as working, and the programs do not take it"
	case !j.c.Works() && j.real.works:
		return "marked as not working, and the programs take it"
	case !refused && !j.stored.works:
		return "it works as it is, and not as pgtls would store it: " + j.stored.how
	}
	return ""
}

// judgeAll works on PostgreSQL and on PgBouncer side by side. When the bench breaks, the rest would say nothing either.
func (b *bench) judgeAll(ctx context.Context, cases []corpus.Case) ([]judgement, error) {
	ctx, give := context.WithCancelCause(ctx)
	defer give(nil)
	judged := make([]judgement, len(cases))
	var lanes sync.WaitGroup
	for _, pooler := range []bool{false, true} {
		lanes.Go(func() {
			for i, c := range cases {
				if (c.Input.Role == custom.Pooler) != pooler || ctx.Err() != nil {
					continue
				}
				judged[i] = b.judge(ctx, c)
				if err := errors.Join(judged[i].real.broken, judged[i].stored.broken); err != nil {
					give(fmt.Errorf("%s: %w", c.Name, err))
				}
			}
		})
	}
	lanes.Wait()
	return judged, context.Cause(ctx)
}

func (b *bench) judge(ctx context.Context, c corpus.Case) judgement {
	certificate, findings := custom.Check(c.Input)
	j := judgement{c: c, findings: findings}
	given, err := project(c.Input)
	if err != nil {
		j.real = fails("the kubelet: %v", err)
	} else {
		j.real = b.try(ctx, c.Input, given)
	}
	if certificate != nil {
		j.stored = b.try(ctx, c.Input, encoded(certificate))
	}
	return j
}

// material is what a process is given, and its verifier.
type material struct {
	certificate, key []byte // nil: there is no such file
	trust            []byte
}

// project does what the kubelet does with a Secret and its items, without a look at the content.
func project(in custom.Input) (material, error) {
	files := map[string][]byte{}
	for _, item := range in.Items {
		text, exists := in.Data[item.Key]
		if !exists {
			return material{}, fmt.Errorf("references non-existent secret key: %s", item.Key)
		}
		if _, twice := files[item.Path]; twice {
			return material{}, fmt.Errorf("conflicting duplicate paths: %s", item.Path)
		}
		files[item.Path] = text
	}
	if len(in.Items) == 0 {
		files = in.Data
	}
	return material{files[custom.CertificateFile], files[custom.KeyFile], trustOf(in, files[custom.AuthorityFile])}, nil
}

// trustOf is what verifiers hold: the user's ca.crt as it is, and the anchors from elsewhere.
func trustOf(in custom.Input, ca []byte) []byte {
	trust := append([]byte{}, ca...)
	more := append(append([]byte{}, pki.EncodeBundle(in.Trust)...), pki.EncodeBundle(in.PeerTrust)...)
	if len(ca) == 0 {
		more = append(more, pki.EncodeBundle(in.SystemRoots)...)
	}
	if len(trust) > 0 && len(more) > 0 {
		trust = append(trust, '\n')
	}
	return append(trust, more...)
}

// encoded is what pgtls stores.
func encoded(c *custom.Certificate) material {
	key, err := c.Pair.EncodeKey()
	if err != nil {
		return material{}
	}
	return material{c.Pair.EncodeChain(), key, pki.EncodeBundle(c.Anchors)}
}
