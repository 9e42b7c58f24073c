"""A clinician's judgement of a prediction: the review, the decision, and what may be told to the EHR."""
