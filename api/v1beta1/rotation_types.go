package v1beta1

import "time"

// RetireManual is the RetirePolicy that wants a person to say when an old authority goes.
const RetireManual = "Manual"

// RotationSpec is how an authority is replaced by a new one.
type RotationSpec struct {
	// RetireSoak is how long an old authority stays trusted after the new one has begun to sign.
	// +optional
	// +kubebuilder:default="336h"
	RetireSoak *SoakDuration `json:"retireSoak,omitempty"`

	// RetirePolicy: Automatic drops an old authority when nothing uses it and RetireSoak is over; Manual also waits
	// for the annotation pgtls.dev/retire-approved.
	// +optional
	// +kubebuilder:default=Automatic
	// +kubebuilder:validation:Enum=Automatic;Manual
	RetirePolicy string `json:"retirePolicy,omitempty"`

	// Paused begins no re-key, but for an emergency. One that is under way goes on.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// defaultSoak is RetireSoak where nothing is given: 14 days.
const defaultSoak = 336 * time.Hour

// SoakDuration is a length of time such as 336h, 90m or 0s (units h, m, s), in at most 14 characters.
//
// +kubebuilder:validation:MaxLength=14
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}[hms])+$')",messageExpression="self + ' is no length of time; write hours, minutes and seconds such as 336h or 0s, days as hours'"
// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}[hms])+$') || duration(self) <= duration('175200h')",messageExpression="self + ' is out of range; choose at most 175200h, which is 20 years'"
type SoakDuration string

// Duration returns the length of time, or 14 days if there is none or it cannot be parsed.
func (d *SoakDuration) Duration() time.Duration {
	if d == nil {
		return defaultSoak
	}
	length, err := time.ParseDuration(string(*d))
	if err != nil || length < 0 {
		return defaultSoak
	}
	return length
}
