# Resource policy for Trustee's KBS: secrets only for evidence that the attestation policy affirms in every part.
# (The policy that KBS starts with releases them to any evidence that is not of the sample kind.)
package policy

import rego.v1

default allow := false

allow if {
	count(input.submods) > 0
	every _, submod in input.submods {
		submod["ear.status"] == "affirming"
	}
}
