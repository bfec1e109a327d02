# Attestation policy for Trustee, to be stored as "default_cpu".
#
# A claim that no rule below sets keeps a value that is not affirming. PCRs count as a whole boot: the reference value
# "premeasure_boot" is a list of objects, and all members of one of them have to agree. That also refuses a machine that
# has PCR 4 of one release and PCR 11 of another.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

default file_system := 0

default instance_identity := 0

default runtime_opaque := 0

default storage_opaque := 0

default sourced_data := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"file-system": file_system,
	"instance-identity": instance_identity,
	"runtime-opaque": runtime_opaque,
	"storage-opaque": storage_opaque,
	"sourced-data": sourced_data,
}

extensions := []

# Where each kind of evidence has its PCRs.
pcrs := input.tpm if {
	input.tpm
}

pcrs := input["az-snp-vtpm"].tpm if {
	input["az-snp-vtpm"]
}

pcrs := input["az-tdx-vtpm"].tpm if {
	input["az-tdx-vtpm"]
}

# The boots that the evidence agrees with. An unknown name gives null, and iterating over null would end the whole
# evaluation with an error; an object without members would agree with everything.
boots contains boot if {
	known := query_reference_value("premeasure_boot")
	is_array(known)
	some boot in known
	is_object(boot)
	count(boot) > 0
	every name, digest in boot {
		pcrs[name] == digest
	}
}

# PCR 4 and 11 hold what was started; a register that nothing extended says nothing of it.
executables := 3 if {
	some boot in boots
	some name in ["pcr04", "pcr11"]
	boot[name] != "0000000000000000000000000000000000000000000000000000000000000000"
}

# Command lines, credentials, addons and extension images come by PCR 12 and 13: without them the configuration is not
# known.
configuration := 2 if {
	some boot in boots
	boot.pcr12
	boot.pcr13
	platform_configuration
}

platform_configuration if {
	input.tpm
}

platform_configuration if {
	snp := input["az-snp-vtpm"]
	snp.platform_smt_enabled in query_reference_value("smt_enabled")
	snp.platform_tsme_enabled in query_reference_value("tsme_enabled")
	snp.policy_abi_major in query_reference_value("abi_major")
	snp.policy_abi_minor in query_reference_value("abi_minor")
	snp.policy_single_socket in query_reference_value("single_socket")
	snp.policy_smt_allowed in query_reference_value("smt_allowed")
}

platform_configuration if {
	input["az-tdx-vtpm"].quote.body.xfam in query_reference_value("xfam")
}

# A bare TPM shows who it is only by its attestation key.
hardware := 2 if {
	input.tpm.ak_public in query_reference_value("trusted_aks")
}

hardware := 2 if {
	snp := input["az-snp-vtpm"]
	snp.measurement in query_reference_value("measurement")
	snp.reported_tcb_bootloader in query_reference_value("tcb_bootloader")
	snp.reported_tcb_microcode in query_reference_value("tcb_microcode")
	snp.reported_tcb_snp in query_reference_value("tcb_snp")
	snp.reported_tcb_tee in query_reference_value("tcb_tee")
}

hardware := 2 if {
	input["az-tdx-vtpm"].quote.body.mr_td in query_reference_value("mr_td")
}
