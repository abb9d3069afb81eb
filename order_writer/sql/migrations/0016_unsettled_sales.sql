-- Every process asks each second which sales go on: what is settled is not read for the answer.
CREATE INDEX sales_unsettled ON sales (sale_id) WHERE state <> 'settled';
