"""The legend of the shape letters used in every signature of this room; it holds no code.

    B  timelines in a batch                 T  bundles of one timeline (padded)
    N  events, of all timelines, flat       M  bundles, of all timelines, flat
    C  concepts (distinct codes) in a batch G  hashed pieces of a concept's words and ancestors
    V  running-statistic entries, flat      S  series: the numeric codes, then the event families
    Q  questions (timeline, cut)            H  horizons asked of each question
    W  windows, flat: Q times H             P  (window, event) pairs
    A  planned actions (padded)             K  bootstrap heads of the predictor
    D  width of events, bundles and state   L  width of a latent
    J  layers of the memory                 R  numbers kept per series
    F  features of a series at a question   X  quantiles read out

Times are float64 days since 1970-01-01 UTC; gaps and ages are float32 days.
"""

SECONDS_PER_DAY = 86_400.0
DAYS_PER_YEAR = 365.25
