"""The example processing unit: seats on the flights of one busy day."""
