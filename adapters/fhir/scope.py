"""The resource types of R4 that give no event, each with the reason why.

Together with `kinds.READ`, with `Medication` (it names what others refer to) and with `Bundle` (it is
opened) they are all types of R4; a test holds the list to that.
"""

from collections.abc import Iterator, Mapping

_WHY: tuple[tuple[str, str], ...] = (
    (
        "says what things are, how they are defined or how systems work; it is about nobody",
        "ActivityDefinition CapabilityStatement CatalogEntry ChargeItemDefinition CodeSystem "
        "CompartmentDefinition ConceptMap DeviceDefinition EffectEvidenceSynthesis EventDefinition "
        "Evidence EvidenceVariable ExampleScenario GraphDefinition ImplementationGuide Library Measure "
        "MedicationKnowledge MedicinalProduct MedicinalProductAuthorization "
        "MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient "
        "MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged "
        "MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition NamingSystem "
        "ObservationDefinition OperationDefinition PlanDefinition Questionnaire ResearchDefinition "
        "ResearchElementDefinition RiskEvidenceSynthesis SearchParameter SpecimenDefinition "
        "StructureDefinition StructureMap Substance SubstanceNucleicAcid SubstancePolymer "
        "SubstanceProtein SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification "
        "TerminologyCapabilities TestReport TestScript ValueSet",
    ),
    (
        "says who or what there is (people, places, devices, organisations); it happens to no patient",
        "Device DeviceMetric Endpoint Group HealthcareService Location Organization "
        "OrganizationAffiliation Person Practitioner PractitionerRole RelatedPerson",
    ),
    (
        "is about money, insurance, contracts or supplies; what was done stands in records of its own",
        "Account ChargeItem Claim ClaimResponse Contract Coverage CoverageEligibilityRequest "
        "CoverageEligibilityResponse EnrollmentRequest EnrollmentResponse ExplanationOfBenefit "
        "InsurancePlan Invoice PaymentNotice PaymentReconciliation SupplyDelivery SupplyRequest",
    ),
    (
        "is how systems and people organise, find, send, permit or prove something, not what happened "
        "to the patient",
        "Appointment AppointmentResponse AuditEvent Basic Binary CareTeam Communication "
        "CommunicationRequest Consent DocumentManifest Linkage List MessageHeader OperationOutcome "
        "Parameters Provenance RequestGroup ResearchStudy ResearchSubject Schedule Slot Subscription Task "
        "VerificationResult",
    ),
    (
        "frames records that come with it and are read themselves; an absent or empty section says "
        "nothing about the patient",
        "Composition",
    ),
    (
        "is an opinion about the future or a warning that software or a person drew from other facts; "
        "read back it would feed predictions with predictions",
        "DetectedIssue Flag GuidanceResponse ImmunizationEvaluation ImmunizationRecommendation "
        "MeasureReport RiskAssessment",
    ),
    (
        "says of what a result was obtained; the result is an Observation or a DiagnosticReport of its own",
        "BiologicallyDerivedProduct BodyStructure ImagingStudy Media MolecularSequence Specimen",
    ),
    (
        "is not read yet: it may tell what happened to the patient, and no rule for it was written",
        "AdverseEvent ClinicalImpression DeviceRequest DeviceUseStatement EpisodeOfCare Goal "
        "NutritionOrder QuestionnaireResponse VisionPrescription",
    ),
)

NOT_READ_YET = _WHY[-1][0]


def _types() -> Iterator[tuple[str, str]]:
    for reason, names in _WHY:
        for name in names.split():
            yield name, reason


WITHOUT_EVENTS: Mapping[str, str] = dict(_types())
"""Resource type to the reason why it gives no event. Its records are kept as received, and counted."""
