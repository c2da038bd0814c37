package postgres

import (
	"crypto/x509/pkix"
	"fmt"
	"strings"
)

// shortNames are those that OpenSSL has for the parts of a name.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street", "2.5.4.10": "O",
	"2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description", "2.5.4.15": "businessCategory", "2.5.4.17": "postalCode",
	"2.5.4.41": "name", "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.46": "dnQualifier",
	"2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID", "1.2.840.113549.1.9.1": "emailAddress",
}

// maxOneLine is how much of a name pg_stat_ssl has room for, in bytes.
const maxOneLine = 63

// OneLineName writes a name as pg_stat_ssl does.
func OneLineName(name pkix.Name) string {
	var text strings.Builder
	for _, part := range name.Names {
		fmt.Fprintf(&text, "/%s=%s", shortNames[part.Type.String()], escaped(fmt.Sprint(part.Value)))
	}
	return text.String()[:min(text.Len(), maxOneLine)]
}

// escaped writes a part of a name as RFC 2253 has it, with letters beyond ASCII as they are.
func escaped(value string) string {
	var text strings.Builder
	for i, c := range value {
		isEdge := c == ' ' && (i == 0 || i == len(value)-1) || c == '#' && i == 0
		switch {
		case isEdge || strings.ContainsRune(`,+"\<>;`, c):
			text.WriteRune('\\')
			text.WriteRune(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&text, `\%02X`, c)
		default:
			text.WriteRune(c)
		}
	}
	return text.String()
}
