package patroni

import (
	"fmt"
	"reflect"
)

// Difference returns what to send to PATCH /config so that current holds everything that desired holds, or nil when
// it does. What only current has stays. A nil in desired removes a key, as it does for Patroni.
func Difference(current, desired map[string]any) map[string]any {
	patch := map[string]any{}
	for key, want := range desired {
		have, exists := current[key]
		if want == nil {
			if exists {
				patch[key] = nil
			}
			continue
		}
		if inner, ok := want.(map[string]any); ok {
			currentInner, _ := have.(map[string]any) // anything else is replaced
			innerPatch := Difference(currentInner, inner)
			if len(innerPatch) > 0 {
				patch[key] = innerPatch
			}
			continue
		}
		if !sameValue(have, want) {
			patch[key] = want
		}
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

// sameValue takes 1 and 1.0 and "1" for the same: JSON has one kind of number, and Patroni stores PostgreSQL's parameters either way.
func sameValue(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	switch a.(type) {
	case nil, map[string]any, []any:
		return false
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}
