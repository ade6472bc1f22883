"""What happens behind the API: releases into the log, and the clock. Imports the service's store, never the reverse."""
