"""The real log: Apache Kafka through aiokafka. The only package that imports the Kafka client."""

from guidevane.log.kafka.cluster import KafkaLog
from guidevane.log.kafka.connection import Connection
from guidevane.log.kafka.consumer import KafkaConsumer
from guidevane.log.kafka.operator import KafkaOperator
from guidevane.log.kafka.producer import KafkaProducer
from guidevane.log.kafka.transactions import KafkaTransactions

__all__ = ["Connection", "KafkaConsumer", "KafkaLog", "KafkaOperator", "KafkaProducer", "KafkaTransactions"]
