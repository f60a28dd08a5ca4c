"""DICOM PS3.15 table E.1-1: what the basic profile does with attributes that may identify.

Action codes: X removes, Z empties, D replaces by a dummy value, U replaces a UID; several say that
it depends on the type of the attribute. Listed are the attributes that MR, CT, PET, NM, Secondary
Capture, Parametric Map, Registration and Presentation State objects, and their sources, may have.
"""

from __future__ import annotations

_ROWS = """
AccessionNumber Z; AcquisitionComments X; AcquisitionContextSequence X/Z; AcquisitionDate X/Z;
AcquisitionDateTime X/Z/D; AcquisitionDeviceProcessingDescription X/D; AcquisitionTime X/Z;
AcquisitionProtocolDescription X; AdditionalPatientHistory X; AdmittingDate X; AdmissionID X;
AdmittingDiagnosesDescription X; Allergies X; AuthorObserverSequence X; CassetteID X;
CommentsOnThePerformedProcedureStep X; ConfidentialityConstraintOnPatientDataDescription X;
ContentCreatorName Z/D; ContentCreatorIdentificationCodeSequence X; ContentDate Z/D; ContentTime
Z/D; ContrastBolusAgent Z/D; ContributionDescription X; CountryOfResidence X;
CurrentPatientLocation X; DateOfSecondaryCapture X; DerivationDescription X; DetectorID X/D;
DeviceSerialNumber X/Z/D; DeviceUID U; DigitalSignaturesSequence X; EthnicGroup X;
FillerOrderNumberImagingServiceRequest Z; FrameComments X; FrameOfReferenceUID U; GantryID X;
GraphicAnnotationSequence D; ImageComments X; ImagePresentationComments X;
ImagingServiceRequestComments X; InstanceCoercionDateTime X; InstanceCreationDate X/Z;
InstanceCreationTime X/Z; InstanceCreatorUID U; InstitutionAddress X; InstitutionCodeSequence
X/Z/D; InstitutionName X/Z/D; InstitutionalDepartmentName X; IssuerOfPatientID X;
LastMenstrualDate X; MediaStorageSOPInstanceUID U; MedicalAlerts X; MedicalRecordLocator X;
MilitaryRank X; ModifiedAttributesSequence X; NameOfPhysiciansReadingStudy X; OperatorsName X/Z/D;
OperatorIdentificationSequence X/D; OriginalAttributesSequence X; OtherPatientIDs X;
OtherPatientNames X; OtherPatientIDsSequence X; PatientAddress X; PatientAge X; PatientBirthDate
Z; PatientBirthName X; PatientBirthTime X; PatientComments X; PatientID Z;
PatientInsurancePlanCodeSequence X; PatientMotherBirthName X; PatientName Z;
PatientReligiousPreference X; PatientSex Z; PatientSexNeutered X/Z; PatientSize X; PatientState X;
PatientTelephoneNumbers X; PatientTransportArrangements X; PatientWeight X;
PerformedProcedureStepDescription X; PerformedProcedureStepID X; PerformedProcedureStepStartDate
X; PerformedProcedureStepStartTime X; PerformedStationAETitle X; PerformedStationName X;
PerformingPhysicianName X; PersonName D; PhysiciansOfRecord X;
PhysiciansReadingStudyIdentificationSequence X; PlacerOrderNumberImagingServiceRequest Z;
PreMedication X; PregnancyStatus X; ProtocolName X/D; RadiopharmaceuticalStartDateTime X/D;
RadiopharmaceuticalStartTime X/D; RadiopharmaceuticalStopTime X/D; ReasonForStudy X;
ReferencedPatientSequence X; ReferencedSOPInstanceUID U; ReferencedStudySequence X/Z;
ReferringPhysicianName Z; ReferringPhysicianAddress X; RegionOfResidence X;
RequestAttributesSequence X; RequestedProcedureDescription X/Z; RequestedProcedureID X/Z;
RequestingPhysician X; RequestingService X; ResponsibleOrganization X; ResponsiblePerson X;
ReviewerName X/Z; SecondaryCaptureDeviceID X/Z/D; SeriesDate X/D; SeriesDescription X;
SeriesInstanceUID U; SeriesTime X/D; ServiceEpisodeID X; SmokingStatus X; SOPInstanceUID U;
SourceImageSequence X/Z/U; SpecialNeeds X; StationName X/Z/D; StudyComments X; StudyDate Z;
StudyDescription X; StudyID Z; StudyInstanceUID U; StudyTime Z; TextComments X; TextString X;
TimezoneOffsetFromUTC X; VerifyingObserverName D; VisitComments X; ContentCreatorsName Z;
ConvolutionKernel K; Manufacturer K; ManufacturerModelName K; SoftwareVersions K
"""

BASIC_PROFILE = {
    name: action
    for row in _ROWS.replace("\n", " ").split(";")
    if row.strip()
    for name, action in [row.split()]
}
"""Action by keyword; K marks what the profile keeps, but sources write free text into."""
