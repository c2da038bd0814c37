package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// requestOptions of one HTTP request.
type requestOptions struct {
	method    string
	bundle    string
	cert, key string // files of a client certificate; empty: none
}

const requestLimit = 10 * time.Second

// runRequest makes one request and prints the status code.
func runRequest(ctx context.Context, url string, o requestOptions, out io.Writer) error {
	config, err := o.tls()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, o.method, url, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = fmt.Fprintln(out, response.StatusCode)
	return err
}

func (o requestOptions) tls() (*tls.Config, error) {
	bundle, err := os.ReadFile(o.bundle)
	if err != nil {
		return nil, fmt.Errorf("reading the trust bundle: %w", err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !config.RootCAs.AppendCertsFromPEM(bundle) {
		return nil, errors.New("reading the trust bundle: no certificate in it")
	}
	if o.cert == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
