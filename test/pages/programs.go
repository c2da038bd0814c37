package pages

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgtls.dev/pgtls/internal/pki/pkitest"
)

// The programs that stand in for those of the same name on a page. A link of that name leads to the test's own program.
var programs = map[string]func(arguments []string, stdout io.Writer) error{
	"vault":   vaultProgram,
	"certbot": certbotProgram,
}

// vaultProgram sends to VAULT_ADDR what "vault secrets enable|tune" and "vault write" send.
func vaultProgram(arguments []string, stdout io.Writer) error {
	flags, rest := flagsOf(arguments)
	switch {
	case len(rest) == 3 && rest[0] == "secrets" && rest[1] == "enable":
		return vaultWrite("sys/mounts/"+flags["path"], map[string]string{"type": rest[2]}, "", stdout)
	case len(rest) == 3 && rest[0] == "secrets" && rest[1] == "tune":
		return vaultWrite("sys/mounts/"+rest[2]+"/tune", map[string]string{"max_lease_ttl": flags["max-lease-ttl"]}, "", stdout)
	case len(rest) >= 2 && rest[0] == "write":
		parameters, err := readParameters(rest[2:])
		if err != nil {
			return err
		}
		return vaultWrite(rest[1], parameters, flags["field"], stdout)
	}
	return fmt.Errorf("the stand-in for vault does not know %q", arguments)
}

// flagsOf takes the flags, written -name=value, out of the arguments.
func flagsOf(arguments []string) (map[string]string, []string) {
	flags := map[string]string{}
	var rest []string
	for _, argument := range arguments {
		if flag, isFlag := strings.CutPrefix(argument, "-"); isFlag {
			name, value, _ := strings.Cut(flag, "=")
			flags[name] = value
			continue
		}
		rest = append(rest, argument)
	}
	return flags, rest
}

// readParameters reads name=value and name=@file.
func readParameters(arguments []string) (map[string]string, error) {
	parameters := map[string]string{}
	for _, argument := range arguments {
		name, value, ok := strings.Cut(argument, "=")
		if !ok {
			return nil, fmt.Errorf("%q is no name=value", argument)
		}
		if file, isFile := strings.CutPrefix(value, "@"); isFile {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			value = string(content)
		}
		parameters[name] = value
	}
	return parameters, nil
}

// vaultWrite prints a field as vault does into a file: without a line end.
func vaultWrite(path string, parameters map[string]string, field string, stdout io.Writer) error {
	body, err := json.Marshal(parameters)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPut, os.Getenv("VAULT_ADDR")+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", os.Getenv("VAULT_TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("writing %s: %s: %s", path, response.Status, content)
	}
	return printField(content, field, stdout)
}

func printField(content []byte, field string, stdout io.Writer) error {
	if field == "" {
		return nil
	}
	var answer struct{ Data map[string]any }
	if err := json.Unmarshal(content, &answer); err != nil {
		return err
	}
	value, ok := answer.Data[field].(string)
	if !ok {
		return fmt.Errorf("field %q not present in the answer", field)
	}
	_, err := io.WriteString(stdout, value)
	return err
}

// acmeIssuerVariable names the directory with the authority that certbot's stand-in issues by.
const acmeIssuerVariable = "STAND_IN_ACME_ISSUER"

// certbotProgram leaves behind what certbot does: <config-dir>/live/<name>/{cert,chain,fullchain,privkey}.pem.
func certbotProgram(arguments []string, _ io.Writer) error {
	by, err := loadIssuer(os.Getenv(acmeIssuerVariable))
	if err != nil {
		return err
	}
	live := filepath.Join(valueOf(arguments, "--config-dir"), "live")
	switch arguments[0] {
	case "certonly":
		return certify(by, live, valueOf(arguments, "-d"))
	case "renew":
		names, err := os.ReadDir(live)
		for _, name := range names {
			err = errors.Join(err, certify(by, live, name.Name()))
		}
		return err
	}
	return fmt.Errorf("the stand-in for certbot does not know %q", arguments)
}

func valueOf(arguments []string, flag string) string {
	for i, argument := range arguments[:len(arguments)-1] {
		if argument == flag {
			return arguments[i+1]
		}
	}
	return ""
}

const acmeLife = 90 * 24 * time.Hour

func certify(by *pkitest.Certificate, live, name string) error {
	made := leaf("", []string{name}, x509.ExtKeyUsageServerAuth)(by, lasting(acmeLife))
	files := map[string]string{
		"cert.pem": string(made.PEM()), "chain.pem": string(by.PEM()), "privkey.pem": string(made.KeyPEM()),
		"fullchain.pem": string(pkitest.Encode(made.Certificate, by.Certificate)),
	}
	return writeFiles(filepath.Join(live, name), files)
}

func writeFiles(directory string, files map[string]string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func store(issuer *pkitest.Certificate, directory string) error {
	return writeFiles(directory, map[string]string{"issuer.crt": string(issuer.PEM()), "issuer.key": string(issuer.KeyPEM())})
}

func loadIssuer(directory string) (*pkitest.Certificate, error) {
	certificate, err := os.ReadFile(filepath.Join(directory, "issuer.crt"))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(directory, "issuer.key"))
	if err != nil {
		return nil, err
	}
	return parseIssuer(string(certificate), string(key))
}

func parseIssuer(certificate, key string) (*pkitest.Certificate, error) {
	certificateDER, err := decode(certificate)
	if err != nil {
		return nil, err
	}
	keyDER, err := decode(key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(certificateDER)
	if err != nil {
		return nil, err
	}
	signer, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, err
	}
	return &pkitest.Certificate{Certificate: parsed, Key: signer.(crypto.Signer)}, nil
}
